"""Rows and pictures of one dataset that are in another."""

from collections.abc import Iterator
from pathlib import Path

from mg_tui.data.check import Found
from mg_tui.data.checks.judged import Judged, conversation_digest, digest
from mg_tui.data.checks.repeats import content_of, looks_alike
from mg_tui.data.findings import Finding
from mg_tui.data.problems import shown

_HINT = "leave it out of one of them: what was seen in training says little about anything else"


class Contents:
    """A dataset's rows and pictures: what is compared with."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._images: set[int] = set()
        self._alike: dict[int, list[str]] = {}
        self._contents: dict[int, set[bytes]] = {}

    def take(self, judged: Judged) -> None:
        """Add a row."""
        if judged.example is None:
            return
        self._rows.add(conversation_digest(judged.example))
        for found in judged.found:
            path = found.located.ref.path
            if (name := digest(path)) not in self._images:
                self._images.add(name)
                if (key := looks_alike(found)) is not None:
                    self._alike.setdefault(key, []).append(path)

    def has_row(self, judged: Judged) -> bool:
        """Whether a row says and shows the same."""
        return judged.example is not None and conversation_digest(judged.example) in self._rows

    def has_image(self, found: Found) -> bool:
        """Whether a picture is here, under this path or another; files are read only where their sizes agree."""
        path = found.located.ref.path
        if digest(path) in self._images:
            return True
        key = looks_alike(found)
        if key is None or key not in self._alike:
            return False
        if key not in self._contents:
            contents = (content_of(Path(other)) for other in self._alike[key])
            self._contents[key] = {content for content in contents if content is not None}
        return content_of(Path(path)) in self._contents[key]


class OverlapCheck:
    """Finds rows that the evaluation dataset has too, or whose pictures it shows."""

    def __init__(self, evaluation: Contents):
        self._evaluation = evaluation
        self._judged: dict[int, bool] = {}

    def row(self, judged: Judged) -> Iterator[Finding]:
        """See `Check`."""
        if judged.example is None:
            return
        if self._evaluation.has_row(judged):
            yield Finding(judged.row, "eval-overlap", None, "the row is in the evaluation dataset too", _HINT)
            return
        for found in judged.found:
            if self._shown(found):
                what = f"its picture {shown(found.located.ref.given, limit=80)} is in the evaluation dataset too"
                yield Finding(judged.row, "eval-overlap", None, what, _HINT)
                return

    def _shown(self, found: Found) -> bool:
        name = digest(found.located.ref.path)
        if name not in self._judged:
            self._judged[name] = self._evaluation.has_image(found)
        return self._judged[name]

    def end(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
