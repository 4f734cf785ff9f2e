"""Calls of a process that was lost, and how they go on in this one."""
