"""The conversation engine: who speaks when, whatever the models that hear, think and speak."""
