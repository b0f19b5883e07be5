"""The nouns every other room speaks in. Standard library and pydantic only; imports nothing above itself."""
