"""An open dataset: its source, its browser, and how its rows are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.text import printable
from mg_tui.tui.widgets.image_box import ImageView

if TYPE_CHECKING:
    from mg_tui.core.example import Example
    from mg_tui.data.browser import Browser
    from mg_tui.data.field_map import FieldMap
    from mg_tui.data.image_resolver import ImageResolver
    from mg_tui.data.rows import Row
    from mg_tui.data.sources.base import Source


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """How a dataset is to be read; None leaves it to be recognised."""

    reference: str
    format: str | None = None
    layout: str | None = None
    split: str | None = None
    config: str | None = None
    text_field: str | None = None
    image_field: str | None = None
    response_field: str | None = None
    image_root: str | None = None

    def run_options(self) -> dict[str, Any]:
        """What was chosen, by the names of the options of a run."""
        from mg_tui.core.spec import TrainingSpec

        named = {
            "dataset": self.reference,
            "dataset_format": self.format,
            "dataset_layout": self.layout,
            "dataset_split": self.split,
            "dataset_config": self.config,
            "text_field": self.text_field,
            "image_field": self.image_field,
            "response_field": self.response_field,
            "image_root": self.image_root,
        }
        return {name: value for name, value in named.items() if value is not None and name in TrainingSpec.model_fields}


class OpenDataset:
    """A dataset that rows are read from. Lives in the thread that reads.

    Raises:
        DataError, EnvironmentProblem: from the constructor, when it cannot be opened.
    """

    def __init__(self, reading: DatasetOptions, *, cwd: Path, cache: Path):
        from mg_tui.data.browser import open_browser
        from mg_tui.data.embedded_images import EmbeddedImageStore
        from mg_tui.data.sources.detection import detect_format
        from mg_tui.data.sources.opener import open_source

        self.options = reading
        self.cwd, self.cache = cwd, cache
        self.source: Source = open_source(
            reading.reference, cwd=cwd, cache=cache, format=reading.format, split=reading.split, config=reading.config
        )
        self.browser: Browser = open_browser(self.source, cache)
        self.first_rows = self.browser.read_rows(1, 32)
        self.recognised = detect_format(self.source, self._named_fields(), reading.layout)
        self.layout, self.fields = self.recognised.layout, self.recognised.fields
        self._image_store = EmbeddedImageStore(cache)
        self._image_resolver: ImageResolver | None = None

    def _named_fields(self) -> "FieldMap":
        """The fields that were named; the others are looked for."""
        from mg_tui.data.field_map import FieldMap

        fields, reading = FieldMap(), self.options
        return replace(
            fields,
            text=reading.text_field or fields.text,
            image=reading.image_field or fields.image,
            response=reading.response_field or fields.response,
        )

    def run_options(self) -> dict[str, Any]:
        """What a run needs to read it as it is read here: fields as they were found, the rest as it was chosen."""
        found = {}
        if self.fields.messages is None and self.layout == "fields":
            found = {
                "text_field": self.fields.text,
                "image_field": self.fields.image,
                "response_field": self.fields.response,
            }
        return {**found, **self.options.run_options()}

    def field_names(self) -> list[str]:
        """The names of the fields of the first rows, in the order they come in."""
        return list(dict.fromkeys(str(name) for row in self.first_rows for name in row.values or ()))

    def field_purposes(self) -> Mapping[str, str]:
        """What each field is used for, by its name."""
        fields = self.fields
        if fields.messages is not None:
            used = {fields.messages: "conversation", fields.image: "images"}
        elif self.layout == "captions":
            used = {fields.response: "answer", fields.image: "images"}
        else:
            used = {fields.response: "answer", fields.image: "images", fields.text: "question"}
        there = self.field_names()
        return {name: purpose for name, purpose in used.items() if name in there}

    def to_example(self, row: "Row") -> "tuple[Example | None, list[str]]":
        """The row as an example whose images are still to be found, or why it is none."""
        from mg_tui.core.example import ImageRef
        from mg_tui.data.embedded_images import EmbeddedImage
        from mg_tui.data.field_map import ExampleDraft
        from mg_tui.data.sources.layouts import to_draft

        drafted = to_draft(row, self.layout, self.fields, self._image_store)
        if not isinstance(drafted, ExampleDraft):
            return None, [str(problem) for problem in drafted]
        refs = [
            ImageRef(given.path, given.original) if isinstance(given, EmbeddedImage) else ImageRef("", given)
            for given in drafted.images
        ]
        return drafted.to_example(refs, None), []

    def find_images(self, example: "Example") -> list[ImageView]:
        """The images of an example, each found or with the reason why not."""
        from mg_tui.data.image_resolver import ImageResolver
        from mg_tui.data.images import ImageError
        from mg_tui.tui.datasets.row_view import probe_image_view

        if self._image_resolver is None:
            root = Path(self.options.image_root) if self.options.image_root else None
            self._image_resolver = ImageResolver(self.source.base, root, self.cwd, self.cache)
        found = []
        for ref in example.images:
            try:
                path = ref.path or self._image_resolver.resolve(ref.original).ref.path
                found.append(probe_image_view(Path(path)))
            except ImageError as error:
                found.append(ImageView(None, placeholder=f"{printable(ref.original, limit=120)} {error.reason}"))
        return found

    def raw_text(self, row: "Row", limit: int) -> str:
        """The row as the file has it, cut to `limit` characters."""
        if row.problem is not None and row.problem.raw:
            return row.problem.raw[:limit]
        from mg_tui.tui.datasets.row_view import format_field

        return format_field(row.values, limit) if row.values is not None else ""
