"""From a spec to a trained model: the worker, setup, the trainer and its reporter, and saving the result."""
