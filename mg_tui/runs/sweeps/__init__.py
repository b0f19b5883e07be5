"""Sweeps: many runs that differ in some options, and what has come of them.

    <home>/sweeps/<name>/
      sweep.json   what was asked for, and the spec and id of every run; never changes; for its owner only
      state.json   what has been decided: which runs were given up, and after which step
      stop         made to end the driver; removed by `model-garden sweep resume`
      lock         held by the driver
      driver.log   what the driver printed

The runs are ordinary runs in the ordinary queue. The driver (`mg_tui.runs.sweeps.driver`) adds them to it, resumes
those that crashed and gives up the worst after some steps. It holds nothing that is not in these files and in the
journals of the runs: it may be killed at any time, and another one continues.
"""
