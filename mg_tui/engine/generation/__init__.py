"""Batched generation: shared prefixes are computed and stored once, rows are decoded together; see `generate`."""
