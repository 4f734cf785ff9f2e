"""A call as a value, and a call that goes on from that value in another process."""
