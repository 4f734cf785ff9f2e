"""The pages of the record, as a browser has them: no build step, and nothing of any call."""
