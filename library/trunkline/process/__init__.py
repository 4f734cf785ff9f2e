"""What every process needs first: addresses, listening, signals, one line on failure."""
