"""One pinned process of a relay: packets in, packets out, and nothing that can wait."""
