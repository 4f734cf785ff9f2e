"""`loadtest plan`: what so many calls need, from measured figures."""
