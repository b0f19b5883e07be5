"""Widgets of the list of jobs."""
