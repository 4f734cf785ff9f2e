"""What ours is measured beside: stock aiortc, a forwarder in C."""
