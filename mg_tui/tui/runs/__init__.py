"""What the dashboard does with runs beside drawing them: commands, snapshots, sorting, replay schedules."""
