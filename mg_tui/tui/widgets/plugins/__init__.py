"""What the place of plugins shows."""
