"""Jobs: what is done with a model after training, as the worker of a job's folder."""
