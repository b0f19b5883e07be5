"""What screens share; a folder below holds what one screen alone shows."""
