"""Annotation files of academic datasets whose rows name images by an id, or have their answers in another list or file.

Each becomes rows with an image, a question and an answer; other columns stay and are accounted for. Formats as
published: VQA v2 (visualqa.org/download.html), COCO captions (cocodataset.org/#format-data), TextVQA (textvqa.org),
GQA (cs.stanford.edu/people/dorarad/gqa), OCR-VQA (ocr-vqa.github.io).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources.column_values import is_empty
from mg_tui.data.sources.columns import IMAGE_COLUMNS
from mg_tui.data.sources.json_array import iterate_items
from mg_tui.data.sources.json_object import Buffer, iterate_members, list_stream, open_buffer
from mg_tui.data.sources.splits import choose_split

# A row as it is trained on; None for a row of another split; a text for a row that cannot be joined, with the reason.
AdaptRow = Callable[[Mapping[str, Any]], Mapping[str, Any] | str | None]

_IMAGE_IDS: Final = ("image_id", "imageId")
_EXTENSIONS: Final = (".jpg", ".png", ".jpeg", ".webp")
_MAX_FOLDERS: Final = 100
# OCR-VQA numbers its splits.
_OCR_VQA_SPLITS: Final[Mapping[Any, str]] = {1: "train", 2: "validation", 3: "test"}


@dataclass(frozen=True, slots=True)
class AnnotationAdapter:
    """How the rows of a file become rows with images, questions and answers.

    Attributes:
        why: what the file was recognized as.
        open: from the text of the file to the function that adapts a row; reads what rows are joined with.
        has_splits: whether it reads one of several splits.
    """

    why: str
    open: Callable[[Buffer], AdaptRow]
    has_splits: bool = False


def find_adapter(
    path: Path, field: str | None, first: Mapping[str, Any], others: Mapping[str, Any], split: str | None
) -> AnnotationAdapter | None:
    """The adapter of rows like `first`; None where they can be read as they are.

    Args:
        path: the file.
        field: the field that holds the rows; None for an object of rows by their ids.
        first: the first row.
        others: the other fields of the file: scalars with their values, lists as "[".
        split: the requested split.

    Raises:
        DataError: what the rows have to be joined with is missing, or they hold boxes.
    """
    if "question_id" in first and ("question" in first) != ("answers" in first or "multiple_choice_answer" in first):
        return _vqa(path, field, first, others)
    if field == "annotations" and others.get("images") == "[":
        return _coco(path, first)
    if field is None and isinstance(first.get("questions"), list) and isinstance(first.get("answers"), list):
        return _ocr_vqa(path, first, split)
    if any(not is_empty(first.get(name)) for name in IMAGE_COLUMNS):
        return None
    image_id = next((name for name in _IMAGE_IDS if isinstance(first.get(name), str)), None)
    if image_id is None:
        return None
    namer = _ImageNamer(path.parent)

    def adapt(row: Mapping[str, Any]) -> Mapping[str, Any] | str:
        value = row.get(image_id)
        if not isinstance(value, str):
            return f"has no {image_id}"
        return {**{key: item for key, item in row.items() if key != image_id}, "image": namer.name_of(value)}

    where = "the file is an object of rows by their ids" if field is None else f"the rows are in the field {field}"
    return AnnotationAdapter(f"{where}; {image_id} names the image", lambda _buffer: adapt)


class _ImageNamer:
    """Names image files by their ids: the folder and the extension are those where the first one is found."""

    def __init__(self, base: Path, subtype: str | None = None):
        self._base = base
        self._subtype = subtype
        self._found: tuple[str, str] | None = None

    def name_of(self, stem: str) -> str:
        if self._found is None:
            self._found = self._find(stem)
        folder, extension = self._found
        return f"{folder}{stem}{extension}"

    def _find(self, stem: str) -> tuple[str, str]:
        extensions = ("",) if Path(stem).suffix.lower() in _EXTENSIONS else _EXTENSIONS
        for folder in self._folders():
            for extension in extensions:
                if (self._base / folder / f"{stem}{extension}").is_file():
                    return folder, extension
        return "", extensions[0]

    def _folders(self) -> Iterator[str]:
        yield ""
        for prefix, parent in (("", self._base), ("../", self._base.absolute().parent)):
            try:
                names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())[:_MAX_FOLDERS]
            except OSError:
                continue
            # The folder of the split first: the same number may be in several.
            for name in sorted(names, key=lambda name: self._subtype is None or self._subtype not in name):
                yield f"{prefix}{name}/"
                if (parent / name / "images").is_dir():
                    yield f"{prefix}{name}/images/"


# --- VQA v2


def _vqa(
    path: Path, field: str | None, first: Mapping[str, Any], others: Mapping[str, Any]
) -> AnnotationAdapter | None:
    """Questions joined with annotations by question_id, in one file or in two."""
    if field not in ("questions", "annotations"):
        return None
    other = "annotations" if field == "questions" else "questions"
    beside = None if others.get(other) == "[" else _find_counterpart(path, other)
    subtype = others.get("data_subtype") if isinstance(others.get("data_subtype"), str) else None
    namer = _ImageNamer(path.parent, subtype)

    def open_adapter(buffer: Buffer) -> AdaptRow:
        if beside is None:
            joined = _by_question(buffer, other)
        else:
            with open_buffer(beside) as text:
                joined = _by_question(text, other)

        def adapt(row: Mapping[str, Any]) -> Mapping[str, Any] | str:
            match = joined.get(row.get("question_id"))
            if match is None:
                return f"has no {'answer' if other == 'annotations' else 'question'} in the {other}"
            values = {**row, **match}
            if isinstance(values.get("multiple_choice_answer"), str):
                values.pop("answers", None)  # of which it is the most frequent
            image_id = values.pop("image_id", None)
            if not any(name in values for name in IMAGE_COLUMNS):
                values["image"] = namer.name_of(_coco_stem(image_id, subtype))
            return values

        return adapt

    what = f"questions and annotations of VQA{f', joined with {safe_line(beside.name, limit=80)}' if beside else ''}"
    return AnnotationAdapter(what, open_adapter)


def _coco_stem(image_id: Any, subtype: str | None) -> str:
    """The name of a COCO image of 2014 or 2015 without its extension; other ids are names already."""
    if isinstance(image_id, int) and subtype is not None and subtype.endswith(("2014", "2015")):
        return f"COCO_{subtype}_{image_id:012}"
    return f"{image_id:012}" if isinstance(image_id, int) else str(image_id)


def _by_question(buffer: Buffer, field: str) -> dict[Any, dict[str, Any]]:
    member = next((member for member in iterate_members(buffer) if member.name == field), None)
    if member is None or member.kind != "[":
        raise DataError(f"the file has no list {field!r}")
    joined: dict[Any, dict[str, Any]] = {}
    for row in iterate_items(list_stream(buffer, member)):
        values = row.values or {}
        question_id = values.get("question_id")
        if isinstance(question_id, int | str):
            if isinstance(values.get("multiple_choice_answer"), str):
                values.pop("answers", None)
            joined[question_id] = {key: value for key, value in values.items() if key != "question_id"}
    return joined


def _find_counterpart(path: Path, other: str) -> Path:
    """The file of annotations of a file of questions, or the reverse, by its name.

    Raises:
        DataError: it is not beside the file.
    """
    this = "questions" if other == "annotations" else "annotations"
    wanted = _join_key(path.name)
    try:
        files = [file for file in path.parent.iterdir() if other in file.name.lower() and file.is_file()]
    except OSError:
        files = []
    matching = [file for file in files if _join_key(file.name) == wanted]
    if len(matching) == 1:
        return matching[0]
    name = path.name.replace(this, other).replace("OpenEnded_", "") if this in path.name else f"the {other}"
    raise DataError(
        f"the {this} have no {other} beside them",
        where=safe_line(str(path)),
        why=f"{len(matching)} files fit" if matching else None,
        hint=f"put {safe_line(name, limit=100)} into the same folder",
    )


def _join_key(name: str) -> str:
    """What the names of questions and annotations of a split have in common."""
    name = name.lower().removesuffix(".zip").removesuffix(".gz").removesuffix(".json")
    for word in ("questions", "annotations", "openended", "multiplechoice"):
        name = name.replace(word, "")
    return name.replace("_", "").replace("-", "")


# --- COCO


def _coco(path: Path, first: Mapping[str, Any]) -> AnnotationAdapter:
    if not isinstance(first.get("caption"), str) and not ("question" in first and "answer" in first):
        what = "bounding boxes" if "bbox" in first or "segmentation" in first else "no captions"
        raise DataError(
            f"the COCO annotations have {what}",
            where=safe_line(str(path)),
            why="an answer has to be text",
            hint="write a question and an answer with the boxes as text for each image, as JSON Lines",
        )

    def open_adapter(buffer: Buffer) -> AdaptRow:
        namer = _ImageNamer(path.parent)
        names = _coco_file_names(buffer)

        def adapt(row: Mapping[str, Any]) -> Mapping[str, Any] | str:
            name = names.get(row.get("image_id"))
            if name is None:
                return "names an image_id that is not in the list of images"
            values = {key: value for key, value in row.items() if key not in ("image_id", "id")}
            return {"image": namer.name_of(name), **values}

        return adapt

    return AnnotationAdapter("COCO annotations: image_id joined with the list of images", open_adapter)


def _coco_file_names(buffer: Buffer) -> dict[Any, str]:
    member = next((member for member in iterate_members(buffer) if member.name == "images"), None)
    names: dict[Any, str] = {}
    if member is not None:
        for row in iterate_items(list_stream(buffer, member)):
            values = row.values or {}
            image_id, name = values.get("id"), values.get("file_name")
            if isinstance(image_id, int | str) and isinstance(name, str):
                names[image_id] = name
    return names


# --- OCR-VQA


def _ocr_vqa(path: Path, first: Mapping[str, Any], split: str | None) -> AnnotationAdapter:
    """Several questions on one cover, as turns of one conversation."""
    has_splits = first.get("split") in _OCR_VQA_SPLITS
    chosen = choose_split(list(_OCR_VQA_SPLITS.values()), split, where=str(path)) if has_splits else None
    namer = _ImageNamer(path.parent)

    def adapt(row: Mapping[str, Any]) -> Mapping[str, Any] | str | None:
        values = dict(row)
        if has_splits and _OCR_VQA_SPLITS.get(values.pop("split", None)) != chosen:
            return None
        questions, answers = values.pop("questions", None), values.pop("answers", None)
        if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
            return "does not have as many answers as questions"
        key, url = str(row.get("__key__")), values.pop("imageURL", None)
        image = namer.name_of(key)
        if not (path.parent / image).is_file() and isinstance(url, str):
            image = url
        turns = [{"user": question, "assistant": answer} for question, answer in zip(questions, answers, strict=True)]
        return {**values, "image": image, "texts": turns}

    of_split = f", split {chosen}" if chosen else ""
    why = f"an object of images by their ids, each with questions and answers (OCR-VQA){of_split}"
    return AnnotationAdapter(why, lambda _buffer: adapt, has_splits)
