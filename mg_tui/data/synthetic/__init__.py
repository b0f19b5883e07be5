"""Synthetic data: drawn images, crops of photos, the sample dataset and the data of the demo."""
