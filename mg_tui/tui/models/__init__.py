"""Models without their widgets: the catalog, conversations, evaluated rows."""
