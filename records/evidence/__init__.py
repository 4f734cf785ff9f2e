"""Signed roots over the chains of all calls: what a store that was made anew cannot show."""
