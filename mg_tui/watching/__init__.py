"""Watches runs while nobody looks: sends messages, copies checkpoints away, and ends the rented machine.

A process of its own, `python -m mg_tui.watching FOLDER`, that follows a run's journal and lock, as the dashboard does,
and so reports the death of the worker too. See docs/watching.md.
"""
