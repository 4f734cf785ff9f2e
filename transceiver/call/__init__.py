"""One call: its states, its sound and messages as the backend has them, and who listens."""
