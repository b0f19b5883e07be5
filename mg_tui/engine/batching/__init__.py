"""From examples to what a forward pass takes: read, tokenised, laid out, images encoded once, handed over in time."""
