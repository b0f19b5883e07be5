"""Rows and images of one dataset that are also in another."""

import hashlib
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mg_tui.data.checks.duplicates import file_digest, image_signature
from mg_tui.data.checks.findings import Finding
from mg_tui.data.digests import conversation_digest, text_digest
from mg_tui.data.image_probe import ImageProbe
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text

_HINT = "remove it from one of the datasets; evaluating on training data is misleading"


class ContentIndex:
    """Digests of a dataset's rows and images, to compare another dataset with."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._images: set[int] = set()
        self._paths_by_signature: dict[int, list[str]] = {}
        self._contents: dict[int, set[bytes]] = {}

    def add(self, row: LoadedRow) -> None:
        """Add a row."""
        if row.example is None:
            return
        self._rows.add(conversation_digest(row.example))
        for probe in row.usable_images:
            path = probe.resolved.ref.path
            if (path_digest := text_digest(path)) not in self._images:
                self._images.add(path_digest)
                if (key := image_signature(probe)) is not None:
                    self._paths_by_signature.setdefault(key, []).append(path)

    def digest(self) -> str:
        """A digest of the rows, and of the images' paths, sizes and modification times."""
        state = hashlib.sha256(array("Q", sorted(self._rows)).tobytes())
        for path in sorted(path for paths in self._paths_by_signature.values() for path in paths):
            with suppress(OSError):
                status = Path(path).stat()
                state.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogatepass"))
        return state.hexdigest()

    def has_row(self, row: LoadedRow) -> bool:
        """Whether a row has an equal conversation with the same images."""
        return row.example is not None and conversation_digest(row.example) in self._rows

    def has_image(self, probe: ImageProbe) -> bool:
        """Whether the dataset has this image, under this path or another; only files of equal signature are read."""
        path = probe.resolved.ref.path
        if text_digest(path) in self._images:
            return True
        key = image_signature(probe)
        if key is None or key not in self._paths_by_signature:
            return False
        if key not in self._contents:
            contents = (file_digest(Path(other)) for other in self._paths_by_signature[key])
            self._contents[key] = {content for content in contents if content is not None}
        return file_digest(Path(path)) in self._contents[key]


class OverlapCheck:
    """Finds rows that are also in the evaluation dataset, or share an image with it."""

    def __init__(self, evaluation: ContentIndex):
        self._evaluation = evaluation
        self._results: dict[int, bool] = {}

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        if row.example is None:
            return
        if self._evaluation.has_row(row):
            yield Finding(row.number, "eval-overlap", None, "the row is also in the evaluation dataset", _HINT)
            return
        for probe in row.usable_images:
            if self._has_image(probe):
                what = (
                    f"its image {quote_text(probe.resolved.ref.original, limit=80)} is also in the evaluation dataset"
                )
                yield Finding(row.number, "eval-overlap", None, what, _HINT)
                return

    def _has_image(self, probe: ImageProbe) -> bool:
        path_digest = text_digest(probe.resolved.ref.path)
        if path_digest not in self._results:
            self._results[path_digest] = self._evaluation.has_image(probe)
        return self._results[path_digest]

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        return iter(())
