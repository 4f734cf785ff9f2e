"""The public edge. It routes packets by ICE username fragment and holds no session."""
