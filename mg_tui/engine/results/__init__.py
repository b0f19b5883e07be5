"""Results: the folder with weights and card, published atomically; merging an adapter and checking the merge."""
