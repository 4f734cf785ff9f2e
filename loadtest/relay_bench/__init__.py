"""What the relay's benchmarks share: a relay on one core, and load from another."""
