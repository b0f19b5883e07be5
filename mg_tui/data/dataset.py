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
from mg_tui.data.embedded_images import EmbeddedImage, EmbeddedImageStore, ImageInput
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_info_cache import ImageInfoCache
from mg_tui.data.image_probe import ImageProbe, ProbeDepth, ProbeOutcome
from mg_tui.data.image_probe import probe_images as look_at_images
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.images import ImageInfo
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import BadRows, RowProblem, quote_text, safe_line, write_rejects
from mg_tui.data.sources.base import DetectedFormat, Source, open_source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.layouts import to_draft

__all__ = [
    "Dataset",
    "FieldMap",
    "RowProblem",
    "load_dataset",
    "require_examples",
    "require_no_bad_rows",
    "write_rejects",
]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a dataset file holds.

    Attributes:
        path: the file or folder, or the name on a hub.
        examples: the rows that trainable, in the order of the file.
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
    image_locations: Mapping[str, int] = field(default_factory=dict)
    image_infos: Mapping[str, ImageInfo] = field(default_factory=dict)
    notes: tuple[RowProblem, ...] = ()
    detected_format: DetectedFormat | None = None
    address: str = ""

    @property
    def bad_rows(self) -> tuple[int, ...]:
        """Numbers of the rows that cannot be trained on."""
        return tuple(sorted({problem.row for problem in self.problems}))

    def format_image_locations(self) -> str:
        """ "12 from the dataset folder, 3 from the image root"; empty when there are no images."""
        return ", ".join(f"{count:,} from {_LOCATION_TEXTS[place]}" for place, count in self.image_locations.items())


_LOCATION_TEXTS = {
    "dataset folder": "the dataset's folder",
    "image root": "the image root",
    "working folder": "the working folder",
    "absolute path": "absolute paths",
    "address": "addresses",
    "row": "embedded in rows",
}


def load_dataset(
    path: str | Path,
    fields: FieldMap | None = None,
    *,
    image_root: Path | None = None,
    system_prompt: str | None = None,
    cwd: Path | None = None,
    cache: Path | None = None,
    check_images: ProbeDepth = "decode",
    progress: Callable[[int, int], None] | None = None,
    allow_private_urls: bool | None = None,
    workers: int | None = None,
    format: str | None = None,
    layout: str | None = None,
    split: str | None = None,
    config: str | None = None,
    policy: ReadPolicy = ALLOW_ALL,
    source: Source | None = None,
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
        source: the dataset, already opened; `format`, `split` and `config` then mean nothing.

    Raises:
        DataError: the dataset is missing, empty or unreadable, or two purposes share a field. Bad rows are no error
            here: they are in `problems` (see `require_no_bad_rows`).
        EnvironmentProblem: the cache folder cannot be written, or a hub cannot be reached.
    """
    fields = fields or FieldMap()
    fields.require_distinct()
    cwd = Path.cwd() if cwd is None else cwd
    if source is None:
        source = open_source(str(path), cwd=cwd, cache=cache, format=format, split=split, config=config, policy=policy)
    recognised = detect_format(source, fields, layout)
    drafts, problems = _read_drafts(source, recognised, EmbeddedImageStore(cache))
    resolver = ImageResolver(source.base, image_root, cwd, cache, allow_private_urls=allow_private_urls, policy=policy)
    outcomes = _probe_images(drafts, resolver, check_images, workers, progress, cache)
    assembled = _ExampleAssembler(system_prompt, outcomes)
    examples = tuple(example for draft in drafts if (example := assembled.example(draft)) is not None)
    problems += _attach_raw_text(source, assembled.problems)
    return Dataset(
        path=source.path or Path(source.name),
        examples=examples,
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        image_locations=dict(assembled.places),
        image_infos=assembled.infos,
        notes=tuple(assembled.notes),
        detected_format=recognised,
        address=source.address,
    )


def require_no_bad_rows(dataset: Dataset) -> None:
    """Raises BadRows, a DataError that lists the bad rows, when there are any."""
    if dataset.problems:
        raise BadRows(dataset.problems, where=safe_line(str(dataset.path)), examples=len(dataset.examples))


def require_examples(dataset: Dataset) -> None:
    """Raises DataError when no row is left to train on."""
    if not dataset.examples:
        first = dataset.problems[0] if dataset.problems else None
        raise DataError(
            f"none of the {len(dataset.bad_rows):,} rows can be trained on",
            where=safe_line(str(dataset.path)),
            why=str(first) if first else None,
            hint=first.hint if first else None,
        )


def _read_drafts(
    source: Source, recognised: DetectedFormat, store: EmbeddedImageStore
) -> tuple[list[ExampleDraft], list[RowProblem]]:
    drafts: list[ExampleDraft] = []
    problems: list[RowProblem] = []
    for row in source.rows():
        mapped = to_draft(row, recognised.layout, recognised.fields, store)
        if isinstance(mapped, ExampleDraft):
            drafts.append(mapped)
        else:
            raw = "" if row.values is None else source.raw(row)
            problems.extend(replace(problem, raw=problem.raw or raw) for problem in mapped)
    return drafts, problems


def _attach_raw_text(source: Source, problems: list[RowProblem]) -> list[RowProblem]:
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


def _probe_images(
    drafts: list[ExampleDraft],
    resolver: ImageResolver,
    depth: ProbeDepth,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    cache: Path | None,
) -> Mapping[ImageInput, ProbeOutcome]:
    def given() -> Iterator[ImageInput]:
        for draft in drafts:
            yield from draft.images

    looks = ImageInfoCache(cache)
    try:
        return look_at_images(given(), resolver, depth, workers=workers, progress=progress, looks=looks)
    finally:
        looks.close()


class _ExampleAssembler:
    """Puts rows and their images together, collecting what is to be said about them."""

    def __init__(self, system_prompt: str | None, outcomes: Mapping[ImageInput, ProbeOutcome]):
        self._system_prompt = system_prompt
        self._outcomes = outcomes
        self.problems: list[RowProblem] = []
        self.notes: list[RowProblem] = []
        self.places: Counter[str] = Counter()
        self.infos: dict[str, ImageInfo] = {}

    def example(self, draft: ExampleDraft) -> Example | None:
        """The row's example, or None with its problems kept."""
        found = [(given, self._outcomes[given]) for given in draft.images]
        good = [outcome for _given, outcome in found if isinstance(outcome, ImageProbe)]
        if len(good) < len(found):
            self.problems += [
                RowProblem(draft.row, draft.image_field, f"{_quote_name(given)} {outcome.reason}", outcome.hint)
                for given, outcome in found
                if not isinstance(outcome, ImageProbe)
            ]
            return None
        images: list[ImageRef] = []
        for given, outcome in zip(draft.images, good, strict=True):
            self._count(draft, given, outcome)
            images.append(outcome.resolved.ref)
        return draft.to_example(images, self._system_prompt)

    def _count(self, draft: ExampleDraft, given: ImageInput, found: ImageProbe) -> None:
        self.places[found.resolved.location] += 1
        if found.info is not None:
            self.infos[found.resolved.ref.path] = found.info
            if found.info.animated:
                what = f"{_quote_name(given)} has several frames or pages; only the first is used"
                self.notes.append(RowProblem(draft.row, draft.image_field, what))


def _quote_name(given: ImageInput) -> str:
    return quote_text(given.original if isinstance(given, EmbeddedImage) else given)
