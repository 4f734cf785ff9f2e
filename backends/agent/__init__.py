"""The conversation engine: it decides who speaks when, with any models."""
