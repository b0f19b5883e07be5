"""An open dataset as the dashboard uses it: its source, its reader threads, its rows as views, its check."""
