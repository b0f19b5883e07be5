"""The training process and the other processes with torch. Faces start them (`python -m mg_tui.engine RUN_FOLDER`)
and never import them."""
