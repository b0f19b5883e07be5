"""Inference: loading a model, generating, evaluating, inspecting tokens; the programs that faces start."""
