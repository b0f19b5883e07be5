"""The runs of a Model Garden on another machine, over its REST API: `model-garden --server URL`."""
