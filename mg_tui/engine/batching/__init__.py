"""From examples to what a forward pass takes: read, tokenised, laid out, pictures encoded once, handed over in time."""
