"""One pinned process of a relay: packets come in and go out, and nothing in it can wait."""
