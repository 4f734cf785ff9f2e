"""Faults under live callers who record what they hear: what survives what, and how it sounds."""
