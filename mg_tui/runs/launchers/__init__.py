"""Jobs for machines that something else hands out: the files of Slurm, SkyPilot and dstack from one run's options.

Each module writes text and nothing else; the same options give the same text. What starts the run in a job is in
`mg_tui.runs.launchers.script`: the first start trains, every later one resumes.
"""
