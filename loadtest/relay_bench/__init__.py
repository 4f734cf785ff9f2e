"""What the relay's benchmarks share: a relay on a core of its own, and load from another."""
