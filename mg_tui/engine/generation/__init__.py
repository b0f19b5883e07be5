"""Answers to many rows at once: shared prefixes computed and kept once, rows decoded together; see `rows`."""
