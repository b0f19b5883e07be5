"""Widgets of the list of evaluations, and of the screen of one."""
