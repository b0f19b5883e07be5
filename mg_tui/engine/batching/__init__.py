"""From examples to the inputs of a forward pass: rows read and tokenized, steps laid out, images encoded once."""
