"""A dataset file as Examples and problems: every row is in one or the other, and none is lost.

Rows are read and mapped first; then each distinct image is found and opened once, in parallel; then the rows are put
together in the order of the file.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImageRef
from mg_tui.core.paths import expanded
from mg_tui.data.check import CheckDepth, Found, Outcome
from mg_tui.data.check import check_images as look_at_images
from mg_tui.data.images import ImageInfo
from mg_tui.data.jsonl import read_raw, read_rows
from mg_tui.data.mapping import Draft, FieldMap, map_row
from mg_tui.data.problems import BadRows, RowProblem, plain, shown, write_rejects
from mg_tui.data.resolve import ImageResolver

__all__ = [
    "Dataset",
    "FieldMap",
    "RowProblem",
    "load_dataset",
    "require_clean",
    "require_examples",
    "write_rejects",
]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a dataset file holds.

    Attributes:
        path: the file.
        examples: the rows that can be trained on, in the order of the file.
        problems: every reason why a row is not among them, by row; a row may have several.
        image_places: images of the examples by the place they were found in ("dataset folder", "image root",
            "working folder", "absolute path", "address"), each use counted.
        image_infos: what is known of each image by its path; empty when images were not opened.
        notes: things about good rows that are worth knowing, by row, e.g. that only an animation's first frame is used.
    """

    path: Path
    examples: tuple[Example, ...]
    problems: tuple[RowProblem, ...]
    image_places: Mapping[str, int] = field(default_factory=dict)
    image_infos: Mapping[str, ImageInfo] = field(default_factory=dict)
    notes: tuple[RowProblem, ...] = ()

    @property
    def bad_rows(self) -> tuple[int, ...]:
        """Numbers of the rows that cannot be trained on."""
        return tuple(sorted({problem.row for problem in self.problems}))

    def places_in_words(self) -> str:
        """ "12 from the dataset folder, 3 from the image root"; empty when there are no images."""
        return ", ".join(f"{count:,} from {_PLACE_WORDS[place]}" for place, count in self.image_places.items())


_PLACE_WORDS = {
    "dataset folder": "the dataset's folder",
    "image root": "the image root",
    "working folder": "the working folder",
    "absolute path": "absolute paths",
    "address": "addresses",
}


def load_dataset(
    path: str | Path,
    fields: FieldMap | None = None,
    *,
    image_root: Path | None = None,
    system_prompt: str | None = None,
    cwd: Path | None = None,
    cache: Path | None = None,
    check_images: CheckDepth = "decode",
    progress: Callable[[int, int], None] | None = None,
    allow_private_urls: bool | None = None,
    workers: int | None = None,
) -> Dataset:
    """Read a JSON Lines file and look at every row and every image.

    A row is an object with the three fields of `fields`. The image field holds a path or address, a list of them, or
    null or [] for a row without a picture; it must be there. Pictures come before the question in the example.

    Args:
        path: the file; relative to `cwd`.
        fields: names of the fields; text, image and response when left out.
        image_root: where relative image paths are looked up after the dataset's folder.
        system_prompt: text of a system turn put before every conversation.
        cwd: where they are looked up last; the working folder when left out.
        cache: folder of the garden's cache; images given by address are kept in it. None refuses addresses.
        check_images: "decode" opens every image, "header" reads its size, "none" sees that the file is there.
        progress: called from this thread with (images done, images).
        allow_private_urls: see `ImageResolver`.
        workers: threads; all usable cores when left out.

    Raises:
        DataError: the file is missing, empty, unreadable or no JSON Lines, or two purposes share a field. Bad rows are
            no error here: they are in `problems` (see `require_clean`).
        EnvironmentProblem: the cache folder cannot be written.
    """
    fields = fields or FieldMap()
    fields.require_distinct()
    cwd = Path.cwd() if cwd is None else cwd
    path = cwd / expanded(path)
    drafts, problems = _read(path, fields)
    resolver = ImageResolver(path.parent, image_root, cwd, cache, allow_private_urls=allow_private_urls)
    outcomes = _outcomes(drafts, resolver, check_images, workers, progress)
    assembled = _Assembly(path, fields.image, system_prompt, outcomes)
    examples = tuple(example for draft in drafts if (example := assembled.example(draft)) is not None)
    return Dataset(
        path=path,
        examples=examples,
        problems=tuple(sorted([*problems, *assembled.problems], key=lambda problem: problem.row)),
        image_places=dict(assembled.places),
        image_infos=assembled.infos,
        notes=tuple(assembled.notes),
    )


def require_clean(dataset: Dataset) -> None:
    """Raises BadRows, a DataError that lists the bad rows, when there are any."""
    if dataset.problems:
        raise BadRows(dataset.problems, where=plain(str(dataset.path)), examples=len(dataset.examples))


def require_examples(dataset: Dataset) -> None:
    """Raises DataError when no row is left to train on."""
    if not dataset.examples:
        first = dataset.problems[0] if dataset.problems else None
        raise DataError(
            f"none of the {len(dataset.bad_rows):,} rows can be trained on",
            where=plain(str(dataset.path)),
            why=str(first) if first else None,
            hint=first.hint if first else None,
        )


def _read(path: Path, fields: FieldMap) -> tuple[list[Draft], list[RowProblem]]:
    drafts: list[Draft] = []
    problems: list[RowProblem] = []
    for row in read_rows(path):
        mapped = map_row(row, fields)
        if isinstance(mapped, Draft):
            drafts.append(mapped)
        else:
            raw = "" if row.values is None else _raw(path, row.offset, row.length)
            problems.extend(replace(problem, raw=problem.raw or raw) for problem in mapped)
    return drafts, problems


def _raw(path: Path, offset: int, length: int) -> str:
    """The row's own text; empty only if the file has become unreadable since it was read."""
    try:
        return read_raw(path, offset, length)
    except OSError:
        return ""


def _outcomes(
    drafts: list[Draft],
    resolver: ImageResolver,
    depth: CheckDepth,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Mapping[str, Outcome]:
    def given() -> Iterator[str]:
        for draft in drafts:
            yield from draft.images

    return look_at_images(given(), resolver, depth, workers=workers, progress=progress)


class _Assembly:
    """Puts rows and their images together, collecting what is to be said about them."""

    def __init__(self, path: Path, image_field: str, system_prompt: str | None, outcomes: Mapping[str, Outcome]):
        self._path = path
        self._field = image_field
        self._system_prompt = system_prompt
        self._outcomes = outcomes
        self.problems: list[RowProblem] = []
        self.notes: list[RowProblem] = []
        self.places: Counter[str] = Counter()
        self.infos: dict[str, ImageInfo] = {}

    def example(self, draft: Draft) -> Example | None:
        """The row's example, or None with its problems kept."""
        found = [(given, self._outcomes[given]) for given in draft.images]
        good = [outcome for _given, outcome in found if isinstance(outcome, Found)]
        if len(good) < len(found):
            raw = _raw(self._path, draft.offset, draft.length)
            self.problems += [
                RowProblem(draft.row, self._field, f"{shown(given)} {outcome.reason}", outcome.hint, raw)
                for given, outcome in found
                if not isinstance(outcome, Found)
            ]
            return None
        images: list[ImageRef] = []
        for given, outcome in zip(draft.images, good, strict=True):
            self._count(draft.row, given, outcome)
            images.append(outcome.located.ref)
        return draft.example(images, self._system_prompt)

    def _count(self, row: int, given: str, found: Found) -> None:
        self.places[found.located.place] += 1
        if found.info is not None:
            self.infos[found.located.ref.path] = found.info
            if found.info.animated:
                what = f"{shown(given)} has several frames or pages; the first is used"
                self.notes.append(RowProblem(row, self._field, what))
