"""`loadtest run SCENARIO.toml`: calls, networks, faults and thresholds as a file."""
