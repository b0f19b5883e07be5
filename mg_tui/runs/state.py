"""The states of a run: derived from its journal and its lock, never stored."""

from enum import StrEnum


class RunState(StrEnum):
    """What a run is doing. Each has a `glyph` (one cell wide) and a `label`; front ends show both."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"

    @property
    def glyph(self) -> str:
        """One character for narrow places."""
        return _GLYPHS[self]

    @property
    def label(self) -> str:
        """The state as one word."""
        return self.value

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self not in (RunState.CREATED, RunState.QUEUED, RunState.RUNNING)

    @property
    def good(self) -> bool:
        """Whether it ended as intended."""
        return self in (RunState.FINISHED, RunState.STOPPED)

    @property
    def can_resume(self) -> bool:
        """Whether a person may resume it."""
        return self in (
            RunState.STOPPED,
            RunState.FAILED,
            RunState.CRASHED,
            RunState.INTERRUPTED,
            RunState.CREATED,
        )

    @property
    def can_remove(self) -> bool:
        """Whether its folder may be deleted."""
        return self.can_resume or self is RunState.FINISHED


_GLYPHS = {
    RunState.CREATED: "○",
    RunState.QUEUED: "…",
    RunState.RUNNING: "▶",
    RunState.FINISHED: "✓",
    RunState.STOPPED: "■",
    RunState.FAILED: "✗",
    RunState.CRASHED: "↯",
    RunState.INTERRUPTED: "↺",
}
