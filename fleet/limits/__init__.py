"""How much a key or a model may use, and the ledger in which all processes write it down."""
