"""`trunkline doctor`: looks for what usually is wrong, and says what to do about it."""
