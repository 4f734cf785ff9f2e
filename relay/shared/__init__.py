"""What the supervisor and its workers map or send to each other."""
