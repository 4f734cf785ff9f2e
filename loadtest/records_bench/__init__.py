"""`python -m loadtest records`: what it costs to keep the record of calls, and to ask for it."""
