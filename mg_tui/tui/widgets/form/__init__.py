"""Widgets of forms: the table of fields, the field editor, and the help of the selected field."""
