"""Widgets of the screen of one run."""
