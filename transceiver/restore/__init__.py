"""Another backend goes on with a call whose backend is lost."""
