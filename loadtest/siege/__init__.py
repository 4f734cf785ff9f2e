"""`loadtest siege`: live callers beside every hostile peer there is, in turn and then together."""
