"""Callers: a stock aiortc client, and a light one of our own."""
