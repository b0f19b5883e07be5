"""Data types shared by all packages: spec, examples, events, errors. Standard library and pydantic only."""
