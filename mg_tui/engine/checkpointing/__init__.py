"""Writing checkpoints that are whole or absent, and choosing among them."""
