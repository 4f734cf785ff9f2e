"""Bytes ↔ values: the formats that relay, transceiver and harness share. Standard library only."""
