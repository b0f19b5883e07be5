"""An open dataset: its source, its browser, and how its rows are read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.core.text import printable
from mg_tui.tui.datasets.row_view import format_field, probe_image_view
from mg_tui.tui.image_view import ImageView

if TYPE_CHECKING:
    from mg_tui.core.example import Example, ImageRef
    from mg_tui.data.browser import Browser
    from mg_tui.data.image_resolver import ImageResolver
    from mg_tui.data.image_roots import ImageRoot
    from mg_tui.data.rows import Row


class OpenDataset:
    """A dataset that rows are read from. Lives in the thread that reads.

    Attributes:
        reference: the dataset as it was given: a path, or a name on the hub.
        options: the options a person chose, by the name of the field of `TrainingSpec`; the others are detected.
        spec: a run on this dataset with these options; its base model stands for any.
        detected: format, layout and fields.
        first_rows: the first rows of the dataset.
        image_roots: folders that have images of the first rows which the dataset's folder does not have.

    Raises:
        DataError, EnvironmentProblem: from the constructor, when it cannot be opened.
        SpecError: from the constructor, when an option has a bad value.
    """

    def __init__(self, reference: str, options: Mapping[str, str], *, cwd: Path, cache: Path):
        from mg_tui.core.spec import TrainingSpec
        from mg_tui.data.browser import open_browser
        from mg_tui.data.embedded_images import EmbeddedImageStore
        from mg_tui.data.from_spec import open_source_from_spec

        self.reference, self.options = reference, dict(options)
        self.cwd, self.cache = cwd, cache
        self.spec = TrainingSpec.parse({"base_model": "tiny", **options, "dataset": reference})
        self.source, self.detected = open_source_from_spec(self.spec, cwd=cwd, cache=cache)
        self.browser: Browser = open_browser(self.source, cache)
        self.first_rows = self.browser.read_rows(1, 32)
        self.layout, self.fields = self.detected.layout, self.detected.fields
        self._image_store = EmbeddedImageStore(cache)
        self._image_resolver: ImageResolver | None = None
        self.image_roots = self._find_image_roots()

    def run_options(self) -> dict[str, str]:
        """Options with which a run reads the dataset as it is read here: detected fields, and what was chosen."""
        fields = {}
        if self.fields.messages is None and self.layout == "fields":
            fields = {
                "text_field": self.fields.text,
                "image_field": self.fields.image,
                "response_field": self.fields.response,
            }
        return {**fields, "dataset": self.reference, **self.options}

    def field_names(self) -> list[str]:
        """The names of the fields of the first rows, in the order they come in."""
        return list(dict.fromkeys(str(name) for row in self.first_rows for name in row.values or ()))

    def field_purposes(self) -> Mapping[str, str]:
        """What each field is used for, by its name: as the first rows are read, the answer first."""
        from mg_tui.data.sources.columns import read_columns, without_ignored

        found: dict[str, str] = {}
        for row in self.first_rows:
            values = without_ignored(row.values or {}, self.fields)
            found.update(read_columns(values, self.layout, self.fields))
        purposes = {name: "conversation" if purpose == "turns" else purpose for name, purpose in found.items()}
        order = ("answer", "images", "question", "conversation")
        return dict(sorted(purposes.items(), key=lambda item: order.index(item[1]) if item[1] in order else len(order)))

    def _find_image_roots(self) -> "list[ImageRoot]":
        """Folders beside the dataset's with images that are missing from it."""
        from mg_tui.core.example import ImageRef
        from mg_tui.data.image_resolver import is_url
        from mg_tui.data.image_roots import find_image_roots

        refs: list[ImageRef] = []
        for row in self.first_rows:
            example, _problems = self.to_example(row)
            refs += example.images if example is not None else ()
        names = [ref.original for ref in refs if not ref.path and not is_url(ref.original)]
        folder = Path(self.source.base)
        missing = [name for name in names if not (folder / name).is_file()]
        return find_image_roots(missing, folder) if missing else []

    def to_example(self, row: "Row") -> "tuple[Example | None, list[str]]":
        """The row as an example whose images are not resolved yet, or None and the problems."""
        from mg_tui.core.example import ImageRef
        from mg_tui.data.embedded_images import EmbeddedImage
        from mg_tui.data.field_map import ExampleDraft
        from mg_tui.data.sources.layouts import to_draft

        draft = to_draft(row, self.layout, self.fields, self._image_store)
        if not isinstance(draft, ExampleDraft):
            return None, [str(problem) for problem in draft]
        refs = [
            ImageRef(image.path, image.original) if isinstance(image, EmbeddedImage) else ImageRef("", image)
            for image in draft.images
        ]
        return draft.to_example(refs, None, self._sizes_of(refs) if draft.objects else None), []

    def _sizes_of(self, refs: "Sequence[ImageRef]") -> list[tuple[int, int]] | None:
        """Width and height of images; None when one cannot be opened."""
        from mg_tui.data.images import ImageError, probe_image

        try:
            infos = [probe_image(ref.path or self._resolve(ref.original)) for ref in refs]
        except ImageError:
            return None
        return [(info.width, info.height) for info in infos]

    def _resolve(self, name: str) -> str:
        """Where the image that the dataset calls so is; raises ImageError."""
        from mg_tui.data.from_spec import image_resolver_from_spec

        if self._image_resolver is None:
            self._image_resolver = image_resolver_from_spec(self.spec, self.source, cwd=self.cwd, cache=self.cache)
        return self._image_resolver.resolve(name).ref.path

    def find_images(self, example: "Example") -> list[ImageView]:
        """The images of an example, each resolved or with the reason why not."""
        from mg_tui.data.images import ImageError

        views = []
        for ref in example.images:
            try:
                path = ref.path or self._resolve(ref.original)
                views.append(probe_image_view(Path(path)))
            except ImageError as error:
                hint = f"; {error.hint}" if error.hint else ""
                text = f"{printable(ref.original, limit=120)} {error.reason}{hint}"
                views.append(ImageView(None, placeholder=text))
        return views

    def raw_text(self, row: "Row", limit: int) -> str:
        """The row as the file has it, cut to `limit` characters."""
        if row.problem is not None and row.problem.raw:
            return row.problem.raw[:limit]
        return format_field(row.values, limit) if row.values is not None else ""
