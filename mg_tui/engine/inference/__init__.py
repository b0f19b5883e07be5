"""Asking a model: loading one, its answers to prompts and to held-out rows, its tokens; the programs faces talk to."""
