"""What every process starts with: addresses, listening, signals, and one line when it cannot."""
