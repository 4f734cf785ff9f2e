"""Signaling over HTTP: WHIP and the realtime calls API, from an SDP offer to its answer."""
