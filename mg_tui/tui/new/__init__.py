"""The form of a new run without its widgets: the draft, its estimate, and the start."""
