"""One module for each group of checks; `mg_tui.data.checks.runner` runs them over a dataset."""
