"""The process that starts the workers, keeps them alive, and speaks to Redis and operators."""
