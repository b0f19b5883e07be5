"""From what a person wrote to the source that reads it: by the file's first bytes, then by its name.

Where both speak and agree, or the first bytes leave no doubt, the format is sure.
"""

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.core.paths import expand_user
from mg_tui.data.jsonl import is_json_array, require_data_file, unreadable_error
from mg_tui.data.policy import ReadPolicy
from mg_tui.data.row_problems import safe_line
from mg_tui.data.sources import dataset_info, hub, splits
from mg_tui.data.sources.base import FORMATS, FormatEvidence, Source
from mg_tui.data.sources.columnar import ColumnarSource, saved_dataset_files
from mg_tui.data.sources.csv_table import CsvSource
from mg_tui.data.sources.file_types import detect_compression, format_extension, read_head, require_supported_file
from mg_tui.data.sources.image_folder import METADATA_FILES, ImageFolderSource, walk_files
from mg_tui.data.sources.json_array import JsonArraySource
from mg_tui.data.sources.json_lines import JsonLinesSource
from mg_tui.data.sources.webdataset import IMAGE_EXTENSIONS, WebDatasetSource

_BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS: Final = 100_000
_MAX_FILES_SCANNED: Final = 2_000
_COLUMNAR_EXTENSIONS: Final = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
_CSV_EXTENSIONS: Final = (".csv", ".tsv", ".tab")


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What `open_source` was asked."""

    given: str
    cwd: Path
    cache: Path | None
    format: str | None
    split: str | None
    config: str | None
    policy: ReadPolicy


def _open_request(asked: SourceRequest) -> Source:
    """See `open_source`."""
    if asked.format is not None and asked.format not in FORMATS:
        raise DataError(f"unknown format {asked.format!r}", hint="choose auto, " + ", ".join(FORMATS))
    if asked.format == "hub" or hub.has_hub_prefix(asked.given):
        return _open_hub(asked)
    path = asked.cwd / expand_user(asked.given)
    if not _path_exists(path):
        if files := _expand_pattern(path):
            return _open_shards(asked, path, files)
        if asked.format is None and asked.policy.roots is None and _may_be_on_hub(asked.given, path):
            return _open_hub(asked)
    _require_allowed(asked, [path])
    if _path_exists(path) and path.is_dir():
        return _open_folder(asked, path)
    require_data_file(path)
    return _open_file(asked, path)


def _require_allowed(asked: SourceRequest, files: Sequence[Path]) -> None:
    for file in files:
        if not asked.policy.allows(file):
            raise DataError("the dataset is outside the allowed folders", where=safe_line(str(file)))


def _path_exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _may_be_on_hub(given: str, path: Path) -> bool:
    if hub.parse_hub_name(given) is None or format_extension(path) in (
        ".jsonl",
        ".json",
        ".tar",
        *_COLUMNAR_EXTENSIONS,
        *_CSV_EXTENSIONS,
    ):
        return False
    return not _path_exists(path.parent)


def _open_hub(asked: SourceRequest) -> Source:
    if asked.policy.roots is not None:
        raise DataError("Hub datasets are not allowed here", where=safe_line(asked.given))
    name = hub.parse_hub_name(asked.given)
    if name is None:
        raise DataError("invalid Hub name", where=safe_line(asked.given), hint="use owner/name")
    marked = hub.has_hub_prefix(asked.given) or asked.format == "hub"
    told = FormatEvidence("sure", "the name starts with hub:") if marked else hub.hub_evidence(name)
    return hub.HubSource(asked.given, name, asked.cwd, config=asked.config, split=asked.split, told=told)


def _open_file(asked: SourceRequest, path: Path) -> Source:
    head = read_head(path, unpacked=True)
    if asked.format is None:
        require_supported_file(path, head)
    if path.name == dataset_info.DATASET_INFO_FILE and (entries := dataset_info.read_entries(path)) is not None:
        return _open_entry(asked, path, entries)
    format, told = _detect_file_format(path, head) if asked.format is None else (asked.format, _FORMAT_WAS_NAMED)
    if format in ("parquet", "arrow"):
        if detect_compression(path) is not None:
            raise DataError(
                f"compressed {FORMATS[format]} files are not supported", where=safe_line(str(path)), hint="unpack it"
            )
        splits.require_no_split(asked.split, where=str(path))
        return ColumnarSource(asked.given, format, path, [path], told)
    if format in ("saved", "imagefolder", "hub"):
        raise DataError(f"a {FORMATS[format]} is not a file", where=safe_line(str(path)))
    splits.require_no_split(asked.split, where=str(path))
    if format == "webdataset":
        return WebDatasetSource(asked.given, path, [path], told)
    kinds: dict[str, Callable[[str, Path, FormatEvidence], Source]] = {
        "jsonl": JsonLinesSource,
        "json": JsonArraySource,
        "csv": CsvSource,
    }
    return kinds[format](asked.given, path, told)


_FORMAT_WAS_NAMED: Final = FormatEvidence("sure", "format set explicitly")


def _detect_file_format(path: Path, head: bytes) -> tuple[str, FormatEvidence]:
    """The format of a file by its first bytes (unpacked), else by its name."""
    ending = format_extension(path)
    if head.startswith(b"PAR1"):
        return "parquet", FormatEvidence("sure", "the file has the Parquet signature")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow", FormatEvidence("sure", "the file has the Arrow signature")
    if head[257:262] == b"ustar":
        return "webdataset", FormatEvidence("sure", "the file is a tar archive")
    packed = f", compressed with {kind}" if (kind := detect_compression(path)) else ""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_json_array(head):
        return "json", FormatEvidence("sure", f"the file starts with `[`{packed}")
    if begin[:1] == b"{":
        agrees = ending in (".jsonl", ".ndjson", ".json", ".jsonlines")
        return "jsonl", FormatEvidence("sure" if agrees else "likely", f"the file starts with `{{`{packed}")
    if ending in _CSV_EXTENSIONS:
        return "csv", FormatEvidence("sure", f"the file extension is {ending}{packed}")
    if ending in (".jsonl", ".ndjson", ".json", ".jsonlines"):
        return "jsonl", FormatEvidence("likely", f"the file extension is {ending}{packed}")
    first = begin.split(b"\n", 1)[0]
    if ending in (".txt", "") and (b"," in first or b"\t" in first) and b"\0" not in head:
        return "csv", FormatEvidence("guess", f"the first line looks like a CSV header{packed}")
    return "jsonl", FormatEvidence("guess", f"the format could not be detected{packed}")


def _open_entry(asked: SourceRequest, file: Path, entries: Any) -> Source:
    name, entry = dataset_info.choose_entry(entries, asked.config, file)
    where = f"{file}, entry {name}"
    layout, fields = dataset_info.parse_entry_layout(entry, where)
    inner = replace(asked, config=entry.get("subset"), split=asked.split or entry.get("split"), format=None)
    if isinstance(entry.get("file_name"), str):
        source = _open_request(
            replace(inner, given=str(file.parent / entry["file_name"]), config=None, split=asked.split)
        )
    elif isinstance(entry.get("hf_hub_url"), str):
        source = _open_request(replace(inner, given=f"hub:{entry['hf_hub_url']}"))
    else:
        raise DataError("the entry has neither a file nor a Hub dataset", where=safe_line(where))
    source.name, source.address = asked.given, str(file)
    why = f"{source.evidence.why}; entry {safe_line(name, limit=60)} of {dataset_info.DATASET_INFO_FILE}"
    source.evidence = FormatEvidence(source.evidence.certainty, why, layout, fields)
    return source


def _open_folder(asked: SourceRequest, path: Path) -> Source:
    """A folder: one that `datasets` saved, one with shards, one with a description, or one with images."""
    where = str(path)
    if asked.format in (None, "saved"):
        if (path / "dataset_dict.json").is_file():
            return _open_saved_splits(asked, path)
        if (path / "state.json").is_file():
            splits.require_no_split(asked.split, where=where)
            told = FormatEvidence("sure", "the folder has a `datasets` state.json")
            return _open_saved(asked, path, path, told)
        if asked.format == "saved":
            raise DataError("not a saved `datasets` folder: no state.json", where=safe_line(where))
    if asked.format is None and (path / dataset_info.DATASET_INFO_FILE).is_file():
        entries = dataset_info.read_entries(path / dataset_info.DATASET_INFO_FILE)
        if entries is not None:
            return _open_entry(asked, path / dataset_info.DATASET_INFO_FILE, entries)
    if asked.format in (None, "webdataset", "parquet", "arrow") and (files := _find_shards(path, asked.format)):
        return _open_shards(asked, path, files)
    if asked.format in (None, "imagefolder"):
        return _open_image_folder(asked, path)
    raise DataError(f"the folder contains no {asked.format} files", where=safe_line(where))


def _open_saved_splits(asked: SourceRequest, path: Path) -> Source:
    import json

    try:
        available = [str(name) for name in json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "the folder's dataset_dict.json cannot be read"
        raise DataError(what, where=safe_line(str(path)), why=safe_line(str(error), limit=200)) from None
    split = splits.choose_split(available, asked.split, where=str(path))
    if Path(split).name != split:
        raise DataError(
            "dataset_dict.json refers to a folder outside its own", where=safe_line(str(path)), why=safe_line(split)
        )
    told = FormatEvidence(
        "sure", f"the folder has a dataset_dict.json of datasets{splits.describe_split(split, available)}"
    )
    return _open_saved(asked, path, path / split, told)


def _open_saved(asked: SourceRequest, path: Path, folder: Path, told: FormatEvidence) -> Source:
    files = saved_dataset_files(folder)
    _require_allowed(asked, files)
    return ColumnarSource(asked.given, "saved", path, files, told)


def _find_shards(path: Path, format: str | None) -> list[Path]:
    """Files of one dataset in a folder, or in its folder `data` as on the hub."""
    endings = {".tar": "webdataset", **_COLUMNAR_EXTENSIONS}
    for folder in (path, path / "data"):
        try:
            found = (
                sorted(f for f in folder.iterdir() if endings.get(f.suffix) and f.is_file()) if folder.is_dir() else []
            )
        except OSError as error:
            raise unreadable_error(folder, error) from None
        found = [file for file in found if format in (None, endings[file.suffix])]
        kinds = {endings[file.suffix] for file in found}
        if len(kinds) > 1:
            hint = f"choose one with --dataset-format: {', '.join(sorted(kinds))}"
            raise DataError("the folder contains several formats", where=safe_line(str(folder)), hint=hint)
        if found:
            return found
    return []


def _expand_pattern(path: Path) -> list[Path]:
    """The files of a pattern: `shard-{000..011}.tar`, or one with * and ?."""
    text = str(path)
    if braces := _BRACES.search(text):
        first, last, width = int(braces[1]), int(braces[2]), len(braces[1])
        if not 0 <= last - first < _MAX_SHARDS:
            raise DataError("invalid range in the pattern", where=safe_line(text))
        numbers = range(first, last + 1)
        return [Path(text[: braces.start()] + f"{n:0{width}}" + text[braces.end() :]) for n in numbers]
    if any(character in text for character in "*?["):
        # Not Path.glob: the pattern may be absolute, and in any of its parts.
        return [Path(name) for name in sorted(islice(glob.iglob(text), _MAX_SHARDS))]  # noqa: PTH207
    return []


def _open_shards(asked: SourceRequest, path: Path, files: Sequence[Path]) -> Source:
    for file in files:
        require_data_file(file)
    _require_allowed(asked, files)
    by_split = splits.group_by_split(files)
    split = splits.choose_split(list(by_split), asked.split, where=str(path))
    chosen = by_split[split]
    format, told = _detect_file_format(chosen[0], read_head(chosen[0], unpacked=True))
    count = f"{len(chosen)} file{'s' if len(chosen) != 1 else ''}"
    # One file, or names that count up, are one dataset; others may be several that lie together.
    certain = len(chosen) == 1 or all(splits.is_numbered_shard(file) for file in chosen)
    why = f"{count}; {told.why}{splits.describe_split(split, list(by_split))}"
    told = FormatEvidence(told.certainty if certain else "likely", why)
    base = path if path.is_dir() else files[0].parent
    if format == "webdataset":
        return WebDatasetSource(asked.given, base, chosen, told)
    if format in ("parquet", "arrow"):
        return ColumnarSource(asked.given, format, base, chosen, told)
    what = f"several files of the format {FORMATS[format]} cannot be combined into one dataset"
    raise DataError(what, where=safe_line(str(path)), hint="convert them, or use a single file")


def _open_image_folder(asked: SourceRequest, path: Path) -> Source:
    available = sorted(f.name for f in path.iterdir() if f.name.lower() in splits.SPLIT_NAMES and f.is_dir())
    folder, said = path, ""
    if available and not any((path / name).exists() for name in METADATA_FILES):
        split = splits.choose_split(available, asked.split, where=str(path))
        folder, said = path / split, splits.describe_split(split, available)
    else:
        splits.require_no_split(asked.split, where=str(path))
    names = [file.name for file in islice(walk_files(folder), _MAX_FILES_SCANNED)]
    images = sum(Path(name).suffix[1:].lower() in IMAGE_EXTENSIONS for name in names)
    metadata = next((name for name in names if name in METADATA_FILES), None)
    if metadata:
        told = FormatEvidence("sure", f"the folder contains images and {metadata}{said}")
    elif images:
        told = FormatEvidence("likely", f"the folder contains {images} image{'s' if images != 1 else ''}{said}")
    else:
        others = [f for f in names if format_extension(Path(f)) in (".jsonl", ".json", ".csv", ".tsv", ".ndjson")][:5]
        hint = "the folder has " + ", ".join(safe_line(name, limit=60) for name in others) if others else "give a file"
        raise DataError("the dataset is a folder without images", where=safe_line(str(path)), hint=hint)
    return ImageFolderSource(asked.given, folder, told, asked.policy)
