"""What a fleet keeps of its calls, so that they outlive the process that has them."""
