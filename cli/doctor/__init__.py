"""`trunkline doctor`: looks for usual faults, and says what to do about them."""
