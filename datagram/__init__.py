"""Batched UDP system calls over preallocated arrays."""
