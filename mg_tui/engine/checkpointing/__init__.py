"""Writing checkpoints atomically, removing old ones, and the trained weights in them."""
