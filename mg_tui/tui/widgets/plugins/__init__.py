"""Widgets of the list of plugins."""
