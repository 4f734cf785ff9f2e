"""`loadtest storm`: ten times the load, from clients that try again at once."""
