"""`trunkline`: the operator's command line, over the admin API of every process."""
