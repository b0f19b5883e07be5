"""Checks of the machine and of what is installed, for `model-garden doctor`, the dashboard and the preflight."""
