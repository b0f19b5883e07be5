"""Devices and memory estimates. Nothing in this package allocates on a device or imports torch."""
