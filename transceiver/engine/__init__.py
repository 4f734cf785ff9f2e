"""All calls of one process on one event loop: the trunk, the wheel, and room for calls."""
