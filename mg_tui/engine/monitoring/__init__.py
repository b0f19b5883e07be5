"""Monitoring a run: stop requests, checks of each step, the watchdog, GPU usage, the run's history."""
