"""Planning without torch: the examples of each step, rank and forward pass, and the layout of shared tokens."""
