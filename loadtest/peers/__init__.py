"""Peers beside which Trunkline is measured: stock aiortc, a forwarder in C."""
