"""One small module for each family of checks; `mg_tui.data.checking` runs them over a dataset."""
