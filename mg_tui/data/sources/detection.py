"""What a dataset is taken for, and how sure that is."""

from collections.abc import Iterator
from dataclasses import fields as fields_of
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
        fields: as far as the user named them; what is left at its default is found, or told by the data's description.
        layout: a key of `LAYOUTS` where the user said it; "auto" and None let it be found.

    Raises:
        DataError: the layout is unknown, or the source cannot be read.
    """
    told = source.evidence
    named = _apply_named_fields(told.fields, fields or FieldMap())
    layout = None if layout in (None, "auto") else layout
    if layout is not None and layout not in LAYOUTS:
        raise DataError(f"unknown layout {layout!r}", hint="layouts are " + ", ".join(LAYOUTS))
    if layout or told.layout:
        found, rows = layout or str(told.layout), list(_first_rows(source))
        guessed, settled, _certainty, _why = detect_layout(rows, named, format=source.format)
        settled = settled if guessed == found else find_layout_fields(found, rows, named)
        return DetectedFormat(source.format, found, told.certainty, f"{told.why}; layout set explicitly", settled)
    found, settled, certainty, why = detect_layout(list(_first_rows(source)), named, format=source.format)
    certainty = min(certainty, told.certainty, key=_CERTAINTY_ORDER.index)
    return DetectedFormat(source.format, found, certainty, f"{told.why}; {why}", settled)


def _first_rows(source: Source) -> Iterator[Row]:
    """Readable rows among the first ones; fewer are looked at where rows are large."""
    return islice((row for row in islice(source.rows(), _MAX_ROWS_READ) if row.values is not None), SAMPLED_ROWS)


def _apply_named_fields(told: FieldMap | None, named: FieldMap) -> FieldMap:
    """`told`, with every field that differs from its default in `named`."""
    if told is None:
        return named
    plain = FieldMap()
    changes = {f.name: getattr(named, f.name) for f in fields_of(FieldMap)}
    return replace(told, **{name: value for name, value in changes.items() if value != getattr(plain, name)})
