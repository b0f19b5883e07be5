"""What the screen of one run shows."""
