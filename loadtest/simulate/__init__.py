"""`loadtest simulate`: a day of a fleet in seconds."""
