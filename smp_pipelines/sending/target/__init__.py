"""Target groups of steps."""
