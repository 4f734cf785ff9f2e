"""The web page: static files, no build step."""
