"""From what a person wrote to the source that reads it."""

from dataclasses import dataclass
from pathlib import Path

from mg_tui.core.paths import expanded
from mg_tui.data.policy import ReadPolicy
from mg_tui.data.sources.base import Source, Told


@dataclass(frozen=True, slots=True)
class Asked:
    """What `open_source` was asked."""

    given: str
    cwd: Path
    cache: Path | None
    format: str | None
    split: str | None
    config: str | None
    policy: ReadPolicy


def open_asked(asked: Asked) -> Source:
    from mg_tui.data.sources.lines import JsonLines

    path = asked.cwd / expanded(asked.given)
    return JsonLines(asked.given, path, Told("sure", "one JSON object a line"))
