"""From a spec to a trained model: the worker, its setup, the trainer, and the end of a run."""
