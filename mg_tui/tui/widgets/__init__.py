"""Widgets that several screens use; a folder below holds the widgets of one screen or place."""
