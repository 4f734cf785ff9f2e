"""Bytes to values and back: the formats that processes share. Standard library only."""
