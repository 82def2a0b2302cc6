"""The simulator: runs the shipped protocol cores on virtual time, 10,000 to 1,000,000 of them (thesis section 2.3)."""
