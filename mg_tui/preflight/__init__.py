"""Checks before a run is created: whether its spec, model and data are valid, and how much memory it needs.

`checks` runs before every run, `loaded_dataset_check` is its check of the data; `dataset_check` is the same check on
request (`datasets check`, the dashboard); `token_counter` counts tokens for both; `memory` turns a spec into the memory
estimate.
"""
