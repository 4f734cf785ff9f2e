"""The public edge: routes packets by ICE username fragment, holds no session."""
