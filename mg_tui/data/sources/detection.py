"""Detects the format, layout and fields of a dataset, with a certainty."""

from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from itertools import islice
from typing import Final

from mg_tui.core.errors import DataError
from mg_tui.data.field_map import FieldMap
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Certainty, DetectedFormat, Source
from mg_tui.data.sources.layouts import LAYOUTS, detect_layout, find_layout_fields

SAMPLED_ROWS: Final = 20
_MAX_ROWS_READ: Final = 200
_CERTAINTY_ORDER: Final[tuple[Certainty, ...]] = ("guess", "likely", "sure")


def detect_format(source: Source, fields: FieldMap | None = None, layout: str | None = None) -> DetectedFormat:
    """Format, layout and fields of a source, from the first rows that can be read.

    Args:
        fields: as far as the user named them; defaults are replaced by detected or described ones.
        layout: a key of `LAYOUTS` to use; detected when "auto" or None.

    Raises:
        DataError: the layout is unknown, or the source cannot be read.
    """
    evidence = source.evidence
    named = _apply_named_fields(evidence.fields, fields or FieldMap())
    layout = None if layout in (None, "auto") else layout
    if layout is not None and layout not in LAYOUTS:
        raise DataError(f"unknown layout {layout!r}", hint="layouts are " + ", ".join(LAYOUTS))
    if layout or evidence.layout:
        explicit, rows = layout or str(evidence.layout), list(_first_rows(source))
        detected, found_fields, _certainty, _why = detect_layout(rows, named, format=source.format)
        if detected != explicit:
            found_fields = find_layout_fields(explicit, rows, named)
        why = f"{evidence.why}; layout set explicitly"
        return DetectedFormat(source.format, explicit, evidence.certainty, why, found_fields)
    detected, found_fields, certainty, why = detect_layout(list(_first_rows(source)), named, format=source.format)
    certainty = min(certainty, evidence.certainty, key=_CERTAINTY_ORDER.index)
    return DetectedFormat(source.format, detected, certainty, f"{evidence.why}; {why}", found_fields)


def _first_rows(source: Source) -> Iterator[Row]:
    """The first 20 readable rows among the first 200."""
    return islice((row for row in islice(source.rows(), _MAX_ROWS_READ) if row.values is not None), SAMPLED_ROWS)


def _apply_named_fields(described: FieldMap | None, named: FieldMap) -> FieldMap:
    """`described` with every field of `named` that differs from its default."""
    if described is None:
        return named
    defaults = FieldMap()
    values = {f.name: getattr(named, f.name) for f in dataclass_fields(FieldMap)}
    return replace(described, **{name: value for name, value in values.items() if value != getattr(defaults, name)})
