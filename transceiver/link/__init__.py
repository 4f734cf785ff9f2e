"""The link to the model backends: one stream for many calls."""
