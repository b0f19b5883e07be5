"""The REST API: a front end beside the command line and the dashboard."""
