"""Which transceiver holds which node index: leases, their store, and the copy relays follow."""
