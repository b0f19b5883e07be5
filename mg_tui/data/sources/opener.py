"""Opens datasets: from a name to the source that reads it, by the file's first bytes, then by its extension.

The format is sure where both agree, or where the first bytes are unambiguous.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.core.paths import expand_user
from mg_tui.data.image_types import DATASET_IMAGE_EXTENSIONS
from mg_tui.data.jsonl import require_data_file
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources import dataset_info, hub, splits
from mg_tui.data.sources.base import FORMATS, FormatEvidence, Source
from mg_tui.data.sources.columnar import ColumnarSource, saved_dataset_files
from mg_tui.data.sources.csv_table import CsvSource
from mg_tui.data.sources.encodings import require_encoding
from mg_tui.data.sources.file_types import (
    COLUMNAR_EXTENSIONS,
    CSV_EXTENSIONS,
    detect_compression,
    detect_file_format,
    format_extension,
    read_head,
    read_small_file,
    require_supported_file,
)
from mg_tui.data.sources.image_folder import METADATA_FILES, ImageFolderSource, require_class_folders, walk_files
from mg_tui.data.sources.json_array import JsonArraySource
from mg_tui.data.sources.json_lines import JsonLinesSource
from mg_tui.data.sources.shards import expand_pattern, find_shards
from mg_tui.data.sources.webdataset import WebDatasetSource
from mg_tui.data.sources.wrapped_json import WrappedJsonSource, WrappedRows, find_wrapped_rows

_MAX_FILES_SCANNED: Final = 2_000


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """The arguments of `open_source`."""

    name: str
    cwd: Path
    cache: Path | None
    format: str | None
    split: str | None
    config: str | None
    policy: ReadPolicy
    encoding: str | None = None
    json_field: str | None = None
    in_entry: bool = False  # named by an entry of a description, which must not name another


def open_source(
    name: str,
    *,
    cwd: Path,
    cache: Path | None,
    format: str | None = None,
    split: str | None = None,
    config: str | None = None,
    policy: ReadPolicy = ALLOW_ALL,
    encoding: str | None = None,
    json_field: str | None = None,
) -> Source:
    """The source that `name` refers to: a file, a folder, a pattern of several files, or `owner/name` on the Hub.

    Args:
        name: as the user wrote it; relative paths are resolved against `cwd`.
        cache: the garden's cache folder.
        format: a key of `FORMATS`; detected when None or "auto".
        split: of a dataset that has several.
        config: of a Hub dataset that has several, or the entry of a `dataset_info.json`.
        policy: where files may be read from.
        encoding: of a text file; UTF-8, or what its first bytes say, when None.
        json_field: the field of a JSON file's object that holds its rows; detected when None.

    Raises:
        UsageError: there is no such encoding.
        DataError: nothing has this name, it is not a dataset, or it may not be read.
        EnvironmentProblem: the Hub cannot be reached.
    """
    request = SourceRequest(name, cwd, cache, None if format == "auto" else format, split, config, policy)
    encoding = None if encoding is None else require_encoding(encoding)
    return _open_request(replace(request, encoding=encoding, json_field=json_field))


def _open_request(request: SourceRequest) -> Source:
    """See `open_source`."""
    if request.format is not None and request.format not in FORMATS:
        raise DataError(f"unknown format {request.format!r}", hint="choose auto, " + ", ".join(FORMATS))
    if request.format == "hub" or hub.has_hub_prefix(request.name):
        return _open_hub(request)
    path = request.cwd / expand_user(request.name)
    if not _path_exists(path):
        if files := expand_pattern(path):
            return _open_shards(request, path, files)
        if request.format is None and request.policy.roots is None and _may_be_on_hub(request.name, path):
            return _open_hub(request)
    _require_allowed(request, [path])
    if _path_exists(path) and path.is_dir():
        return _open_folder(request, path)
    require_data_file(path)
    return _open_file(request, path)


def _require_allowed(request: SourceRequest, files: Sequence[Path]) -> None:
    for file in files:
        if not request.policy.allows(file):
            raise DataError("the dataset is outside the allowed folders", where=safe_line(str(file)))


def _path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _may_be_on_hub(name: str, path: Path) -> bool:
    if hub.parse_hub_name(name) is None or format_extension(path) in (
        ".jsonl",
        ".json",
        ".tar",
        *COLUMNAR_EXTENSIONS,
        *CSV_EXTENSIONS,
    ):
        return False
    return not _path_exists(path.parent)


def _open_hub(request: SourceRequest) -> Source:
    if request.policy.roots is not None:
        raise DataError("Hub datasets are not allowed here", where=safe_line(request.name))
    repository = hub.parse_hub_name(request.name)
    if repository is None:
        raise DataError("invalid Hub name", where=safe_line(request.name), hint="use owner/name")
    explicit = hub.has_hub_prefix(request.name) or request.format == "hub"
    evidence = FormatEvidence("sure", "the name starts with hub:") if explicit else hub.hub_evidence(repository)
    return hub.HubSource(
        request.name, repository, request.cwd, config=request.config, split=request.split, evidence=evidence
    )


def _open_file(request: SourceRequest, path: Path) -> Source:
    head = read_head(path, text=True, encoding=request.encoding)
    if request.format is None:
        require_supported_file(path, head)
    if path.name == dataset_info.DATASET_INFO_FILE and (entries := dataset_info.read_entries(path)) is not None:
        return _open_entry(request, path, entries)
    if request.config:
        raise DataError(
            f"the dataset has no configuration {safe_line(request.config, limit=80)!r}",
            where=safe_line(str(path)),
            why="only Hub datasets have configurations, and dataset_info.json has entries",
            hint="leave --dataset-config out",
        )
    format, evidence = detect_file_format(path, head) if request.format is None else (request.format, _EXPLICIT_FORMAT)
    if wrapped := _find_wrapped(request, path, head, format):
        evidence = FormatEvidence("sure" if request.json_field else "likely", wrapped.why)
        return WrappedJsonSource(request.name, path, evidence, wrapped, request.encoding)
    if format in ("parquet", "arrow"):
        if detect_compression(path) is not None:
            raise DataError(
                f"compressed {FORMATS[format]} files are not supported", where=safe_line(str(path)), hint="unpack it"
            )
        splits.require_no_split(request.split, where=str(path))
        return ColumnarSource(request.name, format, path, [path], evidence)
    if format in ("saved", "imagefolder", "hub"):
        raise DataError(f"a {FORMATS[format]} is not a file", where=safe_line(str(path)))
    splits.require_no_split(request.split, where=str(path))
    if format == "webdataset":
        return WebDatasetSource(request.name, path, [path], evidence)
    source_classes: dict[str, Callable[[str, Path, FormatEvidence, str | None], Source]] = {
        "jsonl": JsonLinesSource,
        "json": JsonArraySource,
        "csv": CsvSource,
    }
    return source_classes[format](request.name, path, evidence, request.encoding)


def _find_wrapped(request: SourceRequest, path: Path, head: bytes, format: str) -> WrappedRows | None:
    """The rows inside a file that is one JSON object; None for any other file."""
    is_object = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    declared_lines = request.format == "jsonl" or format_extension(path) in (".jsonl", ".ndjson", ".jsonlines")
    if request.json_field is None and (not is_object or declared_lines or format not in ("jsonl", "json")):
        return None
    if not is_object:
        what = "the file is not a JSON object, so it has no field of rows"
        raise DataError(what, where=safe_line(str(path)), hint="leave --json-field out")
    rows = find_wrapped_rows(path, field=request.json_field, split=request.split, encoding=request.encoding)
    if rows is not None and not (rows.adapter is not None and rows.adapter.has_splits):
        splits.require_no_split(request.split, where=str(path))
    return rows


_EXPLICIT_FORMAT: Final = FormatEvidence("sure", "format set explicitly")


def _open_entry(request: SourceRequest, file: Path, entries: Any) -> Source:
    name, entry = dataset_info.choose_entry(entries, request.config, file)
    where = f"{file}, entry {name}"
    layout, fields = dataset_info.parse_entry_layout(entry, where)
    split = request.split or entry.get("split")
    inner = replace(request, config=entry.get("subset"), split=split, format=None, in_entry=True)
    if request.in_entry:
        raise DataError("an entry refers to another description, not to data", where=safe_line(where))
    if isinstance(entry.get("file_name"), str):
        source = _open_request(
            replace(inner, name=str(file.parent / entry["file_name"]), config=None, split=request.split)
        )
    elif isinstance(entry.get("hf_hub_url"), str):
        source = _open_request(replace(inner, name=f"hub:{entry['hf_hub_url']}"))
    else:
        raise DataError("the entry has neither a file nor a Hub dataset", where=safe_line(where))
    source.name, source.address = request.name, str(file)
    why = f"{source.evidence.why}; entry {safe_line(name, limit=60)} of {dataset_info.DATASET_INFO_FILE}"
    source.evidence = FormatEvidence(source.evidence.certainty, why, layout, fields)
    return source


def _open_folder(request: SourceRequest, path: Path) -> Source:
    """A folder: saved by `datasets`, with a dataset_info.json, with shards, or with images, tried in this order."""
    where = str(path)
    if request.format in (None, "saved"):
        if (path / "dataset_dict.json").is_file():
            return _open_saved_splits(request, path)
        if (path / "state.json").is_file():
            splits.require_no_split(request.split, where=where)
            evidence = FormatEvidence("sure", "the folder has a `datasets` state.json")
            return _open_saved(request, path, path, evidence)
        if request.format == "saved":
            raise DataError("not a saved `datasets` folder: no state.json", where=safe_line(where))
    if request.format is None and (path / dataset_info.DATASET_INFO_FILE).is_file():
        entries = dataset_info.read_entries(path / dataset_info.DATASET_INFO_FILE)
        if entries is not None:
            return _open_entry(request, path / dataset_info.DATASET_INFO_FILE, entries)
    if request.format in (None, "webdataset", "parquet", "arrow") and (files := find_shards(path, request.format)):
        return _open_shards(request, path, files)
    if request.format in (None, "imagefolder"):
        return _open_image_folder(request, path)
    raise DataError(f"the folder contains no {request.format} files", where=safe_line(where))


def _open_saved_splits(request: SourceRequest, path: Path) -> Source:
    import json

    try:
        available = [str(name) for name in json.loads(read_small_file(path / "dataset_dict.json"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = "the folder's dataset_dict.json cannot be read"
        raise DataError(what, where=safe_line(str(path)), why=safe_line(str(error), limit=200)) from None
    split = splits.choose_split(available, request.split, where=str(path))
    if Path(split).name != split:
        raise DataError(
            "dataset_dict.json refers to a folder outside its own", where=safe_line(str(path)), why=safe_line(split)
        )
    evidence = FormatEvidence(
        "sure", f"the folder has a dataset_dict.json of datasets{splits.describe_split(split, available)}"
    )
    return _open_saved(request, path, path / split, evidence)


def _open_saved(request: SourceRequest, path: Path, folder: Path, evidence: FormatEvidence) -> Source:
    files = saved_dataset_files(folder)
    _require_allowed(request, files)
    return ColumnarSource(request.name, "saved", path, files, evidence)


def _open_shards(request: SourceRequest, path: Path, files: Sequence[Path]) -> Source:
    for file in files:
        require_data_file(file)
    _require_allowed(request, files)
    by_split = splits.group_by_split(files)
    split = splits.choose_split(list(by_split), request.split, where=str(path))
    chosen = by_split[split]
    format, evidence = detect_file_format(chosen[0], read_head(chosen[0], decompressed=True))
    count = f"{len(chosen)} file{'s' if len(chosen) != 1 else ''}"
    # One file, or files with numbered names, are one dataset; others may be several in one folder.
    certain = len(chosen) == 1 or all(splits.is_numbered_shard(file) for file in chosen)
    why = f"{count}; {evidence.why}{splits.describe_split(split, list(by_split))}"
    evidence = FormatEvidence(evidence.certainty if certain else "likely", why)
    base = path if path.is_dir() else files[0].parent
    if format == "webdataset":
        return WebDatasetSource(request.name, base, chosen, evidence)
    if format in ("parquet", "arrow"):
        return ColumnarSource(request.name, format, base, chosen, evidence)
    what = f"several files of the format {FORMATS[format]} cannot be combined into one dataset"
    raise DataError(what, where=safe_line(str(path)), hint="convert them, or use a single file")


def _open_image_folder(request: SourceRequest, path: Path) -> Source:
    available = sorted(f.name for f in path.iterdir() if f.name.lower() in splits.SPLIT_NAMES and f.is_dir())
    folder, split_text = path, ""
    if available and not any((path / name).exists() for name in METADATA_FILES):
        split = splits.choose_split(available, request.split, where=str(path))
        folder, split_text = path / split, splits.describe_split(split, available)
    else:
        splits.require_no_split(request.split, where=str(path))
    names = [file.name for file in islice(walk_files(folder), _MAX_FILES_SCANNED)]
    images = sum(Path(name).suffix.lower() in DATASET_IMAGE_EXTENSIONS for name in names)
    metadata = next((name for name in names if name in METADATA_FILES), None)
    if metadata:
        evidence = FormatEvidence("sure", f"the folder contains images and {metadata}{split_text}")
    elif images:
        if request.format is None:
            require_class_folders(folder, path)
        evidence = FormatEvidence(
            "likely", f"the folder contains {images} image{'s' if images != 1 else ''}{split_text}"
        )
    else:
        others = [f for f in names if format_extension(Path(f)) in (".jsonl", ".json", ".csv", ".tsv", ".ndjson")][:5]
        hint = "the folder has " + ", ".join(safe_line(name, limit=60) for name in others) if others else "give a file"
        raise DataError("the dataset is a folder without images", where=safe_line(str(path)), hint=hint)
    return ImageFolderSource(request.name, folder, evidence, request.policy)
