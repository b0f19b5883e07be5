"""Opens, detects, reads and checks datasets and their images, for the CLI, the dashboard and the engine."""
