"""Runs without their widgets: feeds, snapshots, commands, sorting, replay."""
