"""Screens, a module each, and the bases they share."""
