"""What the place of a new run shows beside its form."""
