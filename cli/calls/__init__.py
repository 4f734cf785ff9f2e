"""`trunkline calls`: the record of calls, over its API."""
