"""Evaluations without their widgets: the list, one evaluation's rows as they come, the draft of a new one, commands."""
