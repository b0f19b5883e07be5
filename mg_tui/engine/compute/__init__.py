"""Faster or smaller computations with the same loss and gradients: attention, loss, LoRA layers, memory."""
