"""Serving: models behind OpenAI's chat completions, answered here or by another program on this machine."""
