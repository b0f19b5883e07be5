"""What the list of runs shows."""
