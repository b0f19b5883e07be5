"""What keeps a run whole and says how it is: checkpoints, stopping, sentinels, watchdog, the reports of its steps."""
