"""Widgets of the screens of datasets."""
