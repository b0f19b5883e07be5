"""One small module for each family of checks; `mg_tui.data.checks.runner` runs them over a dataset."""
