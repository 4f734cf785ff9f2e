"""Conversations with an agent: a caller that speaks, hears and measures what it hears."""
