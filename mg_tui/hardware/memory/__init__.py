"""What a run will need in memory, before it starts and without torch."""

from mg_tui.hardware.memory.advice import Question, Remedy
from mg_tui.hardware.memory.estimate import Estimate, Part, estimate
from mg_tui.hardware.memory.workload import PictureTokens, Row, Workload, condensed

__all__ = ["Estimate", "Part", "PictureTokens", "Question", "Remedy", "Row", "Workload", "condensed", "estimate"]
