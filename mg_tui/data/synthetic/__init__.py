"""Synthetic datasets: drawn images, crops of photos, the sample dataset and the demo dataset."""
