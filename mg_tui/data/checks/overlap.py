"""Rows and images of one dataset that are in another."""

from collections.abc import Iterator
from pathlib import Path

from mg_tui.data.checks.base import LoadedRow, conversation_digest, digest
from mg_tui.data.checks.duplicates import file_digest, image_signature
from mg_tui.data.checks.findings import Finding
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.row_problems import quote_text

_HINT = "remove it from one of the datasets; evaluating on training data is misleading"


class ContentIndex:
    """A dataset's rows and images: what is compared with."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._images: set[int] = set()
        self._alike: dict[int, list[str]] = {}
        self._contents: dict[int, set[bytes]] = {}

    def add(self, judged: LoadedRow) -> None:
        """Add a row."""
        if judged.example is None:
            return
        self._rows.add(conversation_digest(judged.example))
        for found in judged.usable_images:
            path = found.resolved.ref.path
            if (name := digest(path)) not in self._images:
                self._images.add(name)
                if (key := image_signature(found)) is not None:
                    self._alike.setdefault(key, []).append(path)

    def has_row(self, judged: LoadedRow) -> bool:
        """Whether a row says and shows the same."""
        return judged.example is not None and conversation_digest(judged.example) in self._rows

    def has_image(self, found: ImageProbe) -> bool:
        """Whether an image is here, under this path or another; files are read only where their sizes agree."""
        path = found.resolved.ref.path
        if digest(path) in self._images:
            return True
        key = image_signature(found)
        if key is None or key not in self._alike:
            return False
        if key not in self._contents:
            contents = (file_digest(Path(other)) for other in self._alike[key])
            self._contents[key] = {content for content in contents if content is not None}
        return file_digest(Path(path)) in self._contents[key]


class OverlapCheck:
    """Finds rows that the evaluation dataset has too, or whose images it shows."""

    def __init__(self, evaluation: ContentIndex):
        self._evaluation = evaluation
        self._judged: dict[int, bool] = {}

    def check_row(self, judged: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        if judged.example is None:
            return
        if self._evaluation.has_row(judged):
            yield Finding(judged.number, "eval-overlap", None, "the row is also in the evaluation dataset", _HINT)
            return
        for found in judged.usable_images:
            if self._shown(found):
                what = (
                    f"its image {quote_text(found.resolved.ref.original, limit=80)} is also in the evaluation dataset"
                )
                yield Finding(judged.number, "eval-overlap", None, what, _HINT)
                return

    def _shown(self, found: ImageProbe) -> bool:
        name = digest(found.resolved.ref.path)
        if name not in self._judged:
            self._judged[name] = self._evaluation.has_image(found)
        return self._judged[name]

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
