"""The evaluation process: rows answered by a model or a server, scored, compared, and its speed measured.

Started (`python -m mg_tui.engine.evaluation <evaluation folder>`), never imported by a face.
"""
