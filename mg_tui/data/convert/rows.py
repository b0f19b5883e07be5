"""The rows of a dataset that is converted: looked at once, then given once more to be written."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.convert.images import ImageExporter
from mg_tui.data.convert.schema import RowSchema
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore
from mg_tui.data.field_map import ExampleDraft
from mg_tui.data.images import ImageError
from mg_tui.data.row_problems import RowProblem, quote_text, safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.sources.layout_writers import LayoutError, LayoutRow, consumed_fields, layout_fields, to_row
from mg_tui.data.sources.layouts import to_draft

_MAX_DEPTH: Final = 100


class RowConverter:
    """The rows of the source, twice: to look at, and to write."""

    def __init__(
        self,
        source: Source,
        recognised: DetectedFormat,
        layout: str,
        store: EmbeddedImageStore,
        images: ImageExporter,
        progress: Callable[[int], None] | None,
    ):
        self._source = source
        self._recognised = recognised
        self._store = store
        self._images = images
        self._progress = progress
        self._done = 0
        self.schema = RowSchema(layout)
        self.problems: list[RowProblem] = []
        self.losses: Counter[str] = Counter()
        self.good_rows = 0

    def scan(self) -> None:
        """See every row, and gather what has to be known of all."""
        for row, draft in self._drafts():
            found = self._convert_row(row, draft)
            if isinstance(found, RowProblem):
                self.problems.append(found)
                continue
            said, along = found
            self.good_rows += 1
            self.schema.observe(said.values, along)
            self.schema.multiple_images = self.schema.multiple_images or len(draft.images) > 1
            self.schema.weighted = self.schema.weighted or not all(turn.supervised for turn in draft.turns)
            self.losses.update(said.losses)
            self.losses.update(self._dropped_fields(row))

    def converted_rows(self) -> Iterator[tuple[dict[str, Any], ExampleDraft]]:
        """The values of every good row, and its draft."""
        bad = {problem.row for problem in self.problems}
        before = list(self.problems)
        for row, draft in self._drafts():
            if row.number in bad:
                continue
            found = self._convert_row(row, draft)
            if isinstance(found, RowProblem):
                raise DataError("the dataset was modified during the conversion", where=safe_line(self._source.name))
            said, along = found
            yield {**said.values, **along}, draft
        self.problems = before

    def _drafts(self) -> Iterator[tuple[Row, ExampleDraft]]:
        for row in self._source.rows():
            self._done += 1
            if self._progress is not None and self._done % 64 == 0:
                self._progress(self._done)
            draft = to_draft(row, self._recognised.layout, self._recognised.fields, self._store)
            if isinstance(draft, ExampleDraft):
                yield row, draft
            else:
                raw = self._source.raw(row)
                self.problems += [replace(problem, raw=problem.raw or raw) for problem in draft]

    def _convert_row(self, row: Row, draft: ExampleDraft) -> tuple[LayoutRow, dict[str, Any]] | RowProblem:
        try:
            said = to_row(draft, self.schema.layout, self._recognised.fields, several=self.schema.multiple_images)
        except LayoutError as error:
            return RowProblem(row.number, None, str(error), "choose another --layout", self._source.raw(row))
        for given in draft.images:
            try:
                self._images.require_exists(given)
            except ImageError as error:
                name = quote_text(given.original if isinstance(given, EmbeddedImage) else given)
                what = f"{name} {error.reason}"
                return RowProblem(row.number, draft.image_field, what, error.hint, self._source.raw(row))
        if any(depth > _MAX_DEPTH for _item, depth in _walk_values(row.values)):
            what = f"is nested deeper than {_MAX_DEPTH} levels"
            return RowProblem(row.number, None, what, None, self._source.raw(row))
        return said, {
            name: value for name, value in self._extra_fields(row).items() if self._is_carried_over(name, value)
        }

    def _extra_fields(self, row: Row) -> dict[str, Any]:
        values = row.values or {}
        used = consumed_fields(values, self._recognised.layout, self._recognised.fields)
        return {name: value for name, value in values.items() if name not in used}

    def _is_carried_over(self, name: str, value: Any) -> bool:
        return name not in layout_fields(self.schema.layout) and not _has_bytes(value)

    def _dropped_fields(self, row: Row) -> list[str]:
        """Fields that do not go along: bytes, and those in the way of the layout's own."""
        return [
            f"the field {quote_text(name, limit=40)}: " + ("contains bytes" if _has_bytes(value) else "duplicate name")
            for name, value in self._extra_fields(row).items()
            if not self._is_carried_over(name, value) and value not in (None, "", [])
        ]


def _has_bytes(value: Any) -> bool:
    return any(isinstance(item, bytes) for item, _depth in _walk_values(value))


def _walk_values(value: Any) -> Iterator[tuple[Any, int]]:
    """A value and all that is inside it, each with how deep; without recursion, for it may be deep."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        yield item, depth
        inner = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else ()
        waiting += [(one, depth + 1) for one in inner]
