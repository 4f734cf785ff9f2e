"""One call: its states, its sound and messages as the backend has them, who listens to it."""
