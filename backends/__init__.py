"""Model backends, and the library that turns the model link into one async handler per call."""
