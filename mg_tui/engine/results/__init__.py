"""What a run leaves: the folder with its card, published whole; merged into its base, and compared with it."""
