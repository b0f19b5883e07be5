"""The training process and its kin. Started (`python -m mg_tui.engine <run folder>`), never imported by a face."""
