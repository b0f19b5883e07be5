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
from mg_tui.data.check import CheckDepth, Found, Outcome
from mg_tui.data.check import check_images as look_at_images
from mg_tui.data.images import ImageInfo
from mg_tui.data.looks import Looks
from mg_tui.data.mapping import Draft, FieldMap
from mg_tui.data.pictures import Given, Kept, PictureStore
from mg_tui.data.policy import ANYWHERE, ReadPolicy
from mg_tui.data.problems import BadRows, RowProblem, plain, shown, write_rejects
from mg_tui.data.resolve import ImageResolver
from mg_tui.data.sources.base import Recognised, Source, open_source
from mg_tui.data.sources.layouts import to_draft
from mg_tui.data.sources.recognise import recognise

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
        path: the file or folder, or the name on a hub.
        examples: the rows that can be trained on, in the order of the file.
        problems: every reason why a row is not among them, by row; a row may have several.
        image_places: images of the examples by the place they were found in ("dataset folder", "image root",
            "working folder", "absolute path", "address", "row"), each use counted.
        image_infos: what is known of each image by its path; empty when images were not opened.
        notes: things about good rows that are worth knowing, by row, e.g. that only an animation's first frame is used.
        recognised: what format and layout it was taken for.
        address: what names the dataset from every folder.
    """

    path: Path
    examples: tuple[Example, ...]
    problems: tuple[RowProblem, ...]
    image_places: Mapping[str, int] = field(default_factory=dict)
    image_infos: Mapping[str, ImageInfo] = field(default_factory=dict)
    notes: tuple[RowProblem, ...] = ()
    recognised: Recognised | None = None
    address: str = ""

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
    "row": "the rows themselves",
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
    format: str | None = None,
    layout: str | None = None,
    split: str | None = None,
    config: str | None = None,
    policy: ReadPolicy = ANYWHERE,
) -> Dataset:
    """Read a dataset of any format and layout, and look at every row and every image.

    Args:
        path: a file or folder, relative to `cwd`, or a name on a hub: see `open_source`.
        fields: names of the fields, where they are not the usual ones.
        image_root: where relative image paths are looked up after the dataset's folder.
        system_prompt: text of a system turn put before every conversation that has none.
        cwd: where they are looked up last; the working folder when left out.
        cache: folder of the garden's cache; images given by address or inside rows are kept in it. None refuses them.
        check_images: "decode" opens every image, "header" reads its size, "none" sees that the file is there.
        progress: called from this thread with (images done, images).
        allow_private_urls: see `ImageResolver`.
        workers: threads; all usable cores when left out.
        format, layout: what the dataset is; recognised when left out.
        split, config: see `open_source`.
        policy: where files may be read from.

    Raises:
        DataError: the dataset is missing, empty or unreadable, or two purposes share a field. Bad rows are no error
            here: they are in `problems` (see `require_clean`).
        EnvironmentProblem: the cache folder cannot be written, or a hub cannot be reached.
    """
    fields = fields or FieldMap()
    fields.require_distinct()
    cwd = Path.cwd() if cwd is None else cwd
    source = open_source(str(path), cwd=cwd, cache=cache, format=format, split=split, config=config, policy=policy)
    recognised = recognise(source, fields, layout)
    drafts, problems = _read(source, recognised, PictureStore(cache))
    resolver = ImageResolver(source.base, image_root, cwd, cache, allow_private_urls=allow_private_urls, policy=policy)
    outcomes = _outcomes(drafts, resolver, check_images, workers, progress, cache)
    assembled = _Assembly(system_prompt, outcomes)
    examples = tuple(example for draft in drafts if (example := assembled.example(draft)) is not None)
    problems += _with_raw(source, assembled.problems)
    return Dataset(
        path=source.path or Path(source.name),
        examples=examples,
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        image_places=dict(assembled.places),
        image_infos=assembled.infos,
        notes=tuple(assembled.notes),
        recognised=recognised,
        address=source.address,
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


def _read(source: Source, recognised: Recognised, store: PictureStore) -> tuple[list[Draft], list[RowProblem]]:
    drafts: list[Draft] = []
    problems: list[RowProblem] = []
    for row in source.rows():
        mapped = to_draft(row, recognised.layout, recognised.fields, store)
        if isinstance(mapped, Draft):
            drafts.append(mapped)
        else:
            raw = "" if row.values is None else source.raw(row)
            problems.extend(replace(problem, raw=problem.raw or raw) for problem in mapped)
    return drafts, problems


def _with_raw(source: Source, problems: list[RowProblem]) -> list[RowProblem]:
    """The problems with the text of their rows, which is read again: rows with bad images are few, one hopes."""
    wanted = {problem.row for problem in problems}
    texts: dict[int, str] = {}
    if wanted:
        for row in source.rows(min(wanted)):
            if row.number in wanted:
                texts[row.number] = source.raw(row)
            if len(texts) == len(wanted):
                break
    return [replace(problem, raw=texts.get(problem.row, "")) for problem in problems]


def _outcomes(
    drafts: list[Draft],
    resolver: ImageResolver,
    depth: CheckDepth,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    cache: Path | None,
) -> Mapping[Given, Outcome]:
    def given() -> Iterator[Given]:
        for draft in drafts:
            yield from draft.images

    looks = Looks(cache)
    try:
        return look_at_images(given(), resolver, depth, workers=workers, progress=progress, looks=looks)
    finally:
        looks.close()


class _Assembly:
    """Puts rows and their images together, collecting what is to be said about them."""

    def __init__(self, system_prompt: str | None, outcomes: Mapping[Given, Outcome]):
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
            self.problems += [
                RowProblem(draft.row, draft.image_field, f"{_shown(given)} {outcome.reason}", outcome.hint)
                for given, outcome in found
                if not isinstance(outcome, Found)
            ]
            return None
        images: list[ImageRef] = []
        for given, outcome in zip(draft.images, good, strict=True):
            self._count(draft, given, outcome)
            images.append(outcome.located.ref)
        return draft.example(images, self._system_prompt)

    def _count(self, draft: Draft, given: Given, found: Found) -> None:
        self.places[found.located.place] += 1
        if found.info is not None:
            self.infos[found.located.ref.path] = found.info
            if found.info.animated:
                what = f"{_shown(given)} has several frames or pages; the first is used"
                self.notes.append(RowProblem(draft.row, draft.image_field, what))


def _shown(given: Given) -> str:
    return shown(given.given if isinstance(given, Kept) else given)
