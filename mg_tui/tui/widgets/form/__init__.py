"""Forms: fields one under another, one of them being changed, and what is said of it."""
