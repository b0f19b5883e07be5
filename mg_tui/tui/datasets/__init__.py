"""Open datasets without their widgets: reader threads, rows as views, checks."""
