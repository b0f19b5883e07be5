"""Which examples meet in a step, on which rank, in which forward pass, and how shared tokens lie in it; no torch."""
