"""Widgets of the form of a new run."""
