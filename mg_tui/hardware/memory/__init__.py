"""Estimates of a run's memory, before it starts and without torch."""

from mg_tui.hardware.memory.advisor import MemoryAdvisor, MemorySuggestion
from mg_tui.hardware.memory.estimator import EstimatePart, MemoryEstimate, estimate_memory
from mg_tui.hardware.memory.workload import ExampleSize, ImageTokenCount, Workload, keep_largest

__all__ = [
    "EstimatePart",
    "ExampleSize",
    "ImageTokenCount",
    "MemoryAdvisor",
    "MemoryEstimate",
    "MemorySuggestion",
    "Workload",
    "estimate_memory",
    "keep_largest",
]
