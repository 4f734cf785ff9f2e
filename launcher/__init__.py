"""Starts a whole Trunkline on one machine, under one supervisor with one log."""
