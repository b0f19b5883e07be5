"""The rows of a dataset that is converted: scanned once for their schema, then read again to be written."""

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
    """Reads the rows of the source twice: `scan`, then `converted_rows`."""

    def __init__(
        self,
        source: Source,
        detected: DetectedFormat,
        layout: str,
        store: EmbeddedImageStore,
        exporter: ImageExporter,
        progress: Callable[[int], None] | None,
    ):
        self._source = source
        self._detected = detected
        self._store = store
        self._exporter = exporter
        self._progress = progress
        self._rows_read = 0
        self.schema = RowSchema(layout)
        self.problems: list[RowProblem] = []
        self.losses: Counter[str] = Counter()
        self.good_rows = 0

    def scan(self) -> None:
        """Read every row: collect problems, losses and the schema."""
        for row, draft in self._drafts():
            converted = self._convert_row(row, draft)
            if isinstance(converted, RowProblem):
                self.problems.append(converted)
                continue
            layout_row, extra = converted
            self.good_rows += 1
            self.schema.observe(layout_row.values, extra)
            self.schema.multiple_images = self.schema.multiple_images or len(draft.images) > 1
            self.schema.weighted = self.schema.weighted or not all(turn.supervised for turn in draft.turns)
            self.losses.update(layout_row.losses)
            self.losses.update(self._dropped_fields(row))

    def converted_rows(self) -> Iterator[tuple[dict[str, Any], ExampleDraft]]:
        """The values of every good row, and its draft; problems found again are not added twice."""
        bad = {problem.row for problem in self.problems}
        problems = list(self.problems)
        for row, draft in self._drafts():
            if row.number in bad:
                continue
            converted = self._convert_row(row, draft)
            if isinstance(converted, RowProblem):
                raise DataError("the dataset was modified during the conversion", where=safe_line(self._source.name))
            layout_row, extra = converted
            yield {**layout_row.values, **extra}, draft
        self.problems = problems

    def _drafts(self) -> Iterator[tuple[Row, ExampleDraft]]:
        for row in self._source.rows():
            self._rows_read += 1
            if self._progress is not None and self._rows_read % 64 == 0:
                self._progress(self._rows_read)
            draft = to_draft(row, self._detected.layout, self._detected.fields, self._store)
            if isinstance(draft, ExampleDraft):
                yield row, draft
            else:
                raw = self._source.raw(row)
                self.problems += [replace(problem, raw=problem.raw or raw) for problem in draft]

    def _convert_row(self, row: Row, draft: ExampleDraft) -> tuple[LayoutRow, dict[str, Any]] | RowProblem:
        try:
            layout_row = to_row(
                draft, self.schema.layout, self._detected.fields, image_list=self.schema.multiple_images
            )
        except LayoutError as error:
            return RowProblem(row.number, None, str(error), "choose another --layout", self._source.raw(row))
        for image in draft.images:
            try:
                self._exporter.require_exists(image)
            except ImageError as error:
                name = quote_text(image.original if isinstance(image, EmbeddedImage) else image)
                what = f"{name} {error.reason}"
                return RowProblem(row.number, draft.image_field, what, error.hint, self._source.raw(row))
        if any(depth > _MAX_DEPTH for _item, depth in _walk_values(row.values)):
            what = f"is nested deeper than {_MAX_DEPTH} levels"
            return RowProblem(row.number, None, what, None, self._source.raw(row))
        return layout_row, {
            name: value for name, value in self._extra_fields(row).items() if self._is_carried_over(name, value)
        }

    def _extra_fields(self, row: Row) -> dict[str, Any]:
        values = row.values or {}
        used = consumed_fields(values, self._detected.layout, self._detected.fields)
        return {name: value for name, value in values.items() if name not in used}

    def _is_carried_over(self, name: str, value: Any) -> bool:
        return name not in layout_fields(self.schema.layout) and not _has_bytes(value)

    def _dropped_fields(self, row: Row) -> list[str]:
        """Extra fields that are not carried over: bytes, and names that the layout uses itself."""
        return [
            f"the field {quote_text(name, limit=40)}: " + ("contains bytes" if _has_bytes(value) else "duplicate name")
            for name, value in self._extra_fields(row).items()
            if not self._is_carried_over(name, value) and value not in (None, "", [])
        ]


def _has_bytes(value: Any) -> bool:
    return any(isinstance(item, bytes) for item, _depth in _walk_values(value))


def _walk_values(value: Any) -> Iterator[tuple[Any, int]]:
    """A value and all values inside it, each with its depth; iterative, since nesting may be deep."""
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        yield item, depth
        inner = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else ()
        stack += [(child, depth + 1) for child in inner]
