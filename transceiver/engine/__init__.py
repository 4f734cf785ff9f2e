"""All calls of one process on one event loop: the trunk, the wheel, the room for calls."""
