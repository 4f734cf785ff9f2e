"""`loadtest stall`: how late live sound is after processes were stopped, and whether it clicks."""
