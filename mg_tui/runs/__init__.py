"""Runs: folders whose journal is the truth about them. Cheap to import; the training itself is another process.

folder   one run's folder: names, ids, making it whole or not at all
journal  append-only, numbered events: one writer, any number of readers
lock     who lives: held by the worker, freed by the kernel however it dies
view     events folded into what a face shows, and the state of the run
watch    a run followed over time: journal and lock read together, in the order that cannot lie
control  requests from faces to the worker
store    every run of a home folder, and one of them by name
launch   from a spec to a running worker that outlives whoever started it
"""
