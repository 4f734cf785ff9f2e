"""The harness: it places real calls and measures them."""
