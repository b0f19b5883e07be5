"""How a model computes what it computes anyway: sooner, or with less memory, and with the same loss and gradients."""
