"""What the supervisor and its workers share by memory, or send to each other."""
