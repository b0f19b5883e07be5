"""Devices and what a run will need of them. Sampling reads; nothing here allocates on a device or imports torch."""
