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
from mg_tui.core.paths import expanded
from mg_tui.data.jsonl import is_array, look, unreadable
from mg_tui.data.policy import ReadPolicy
from mg_tui.data.problems import plain
from mg_tui.data.sources import described, hub, splits
from mg_tui.data.sources.array import JsonArray
from mg_tui.data.sources.base import FORMATS, Source, Told
from mg_tui.data.sources.columns import Columns, saved_files
from mg_tui.data.sources.files import compression, first_bytes, refuse_others, suffix
from mg_tui.data.sources.lines import JsonLines
from mg_tui.data.sources.pictures import METADATA, PictureFolder, walk
from mg_tui.data.sources.shards import PICTURES, Shards
from mg_tui.data.sources.table import Table

_BRACES: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS: Final = 100_000
_LOOKED_THROUGH: Final = 2_000
_COLUMN_ENDINGS: Final = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
_TABLE_ENDINGS: Final = (".csv", ".tsv", ".tab")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `open_source` was asked."""

    given: str
    cwd: Path
    cache: Path | None
    format: str | None
    split: str | None
    config: str | None
    policy: ReadPolicy


def open_asked(asked: Asked) -> Source:
    """See `open_source`."""
    if asked.format is not None and asked.format not in FORMATS:
        raise DataError(f"there is no format {asked.format!r}", hint="formats are auto, " + ", ".join(FORMATS))
    if asked.format == "hub" or hub.is_marked(asked.given):
        return _hub(asked)
    path = asked.cwd / expanded(asked.given)
    if not _there(path):
        if files := _several(path):
            return _shards(asked, path, files)
        if asked.format is None and asked.policy.roots is None and _may_be_on_hub(asked.given, path):
            return _hub(asked)
    _require_allowed(asked, [path])
    if _there(path) and path.is_dir():
        return _folder(asked, path)
    look(path)
    return _file(asked, path)


def _require_allowed(asked: Asked, files: Sequence[Path]) -> None:
    for file in files:
        if not asked.policy.allows(file):
            raise DataError("the dataset lies outside the folders that may be read", where=plain(str(file)))


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _may_be_on_hub(given: str, path: Path) -> bool:
    if hub.hub_name(given) is None or suffix(path) in (".jsonl", ".json", ".tar", *_COLUMN_ENDINGS, *_TABLE_ENDINGS):
        return False
    return not _there(path.parent)


def _hub(asked: Asked) -> Source:
    if asked.policy.roots is not None:
        raise DataError("datasets of a hub may not be opened here", where=plain(asked.given))
    name = hub.hub_name(asked.given)
    if name is None:
        raise DataError("this is no name on the hub", where=plain(asked.given), hint="names look like owner/name")
    marked = hub.is_marked(asked.given) or asked.format == "hub"
    told = Told("sure", "it was said to be on the hub") if marked else hub.told(name)
    return hub.Hub(asked.given, name, asked.cwd, config=asked.config, split=asked.split, told=told)


def _file(asked: Asked, path: Path) -> Source:
    head = first_bytes(path, unpacked=True)
    if asked.format is None:
        refuse_others(path, head)
    if path.name == described.FILE and (entries := described.entries_of(path)) is not None:
        return _entry(asked, path, entries)
    format, told = _recognised(path, head) if asked.format is None else (asked.format, _NAMED)
    if format in ("parquet", "arrow"):
        if compression(path) is not None:
            raise DataError(
                f"a compressed {FORMATS[format]} file is not read", where=plain(str(path)), hint="unpack it"
            )
        splits.refuse(asked.split, where=str(path))
        return Columns(asked.given, format, path, [path], told)
    if format in ("saved", "imagefolder", "hub"):
        raise DataError(f"a {FORMATS[format]} is not a file", where=plain(str(path)))
    splits.refuse(asked.split, where=str(path))
    if format == "webdataset":
        return Shards(asked.given, path, [path], told)
    kinds: dict[str, Callable[[str, Path, Told], Source]] = {"jsonl": JsonLines, "json": JsonArray, "csv": Table}
    return kinds[format](asked.given, path, told)


_NAMED: Final = Told("sure", "the format was named")


def _recognised(path: Path, head: bytes) -> tuple[str, Told]:
    """The format of a file by its first bytes (unpacked), else by its name."""
    ending = suffix(path)
    if head.startswith(b"PAR1"):
        return "parquet", Told("sure", "the file begins as Parquet does")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow", Told("sure", "the file begins as Arrow does")
    if head[257:262] == b"ustar":
        return "webdataset", Told("sure", "the file is a tar archive")
    packed = f", packed with {kind}" if (kind := compression(path)) else ""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if is_array(head):
        return "json", Told("sure", f"the file begins with a bracket{packed}")
    if begin[:1] == b"{":
        agrees = ending in (".jsonl", ".ndjson", ".json", ".jsonlines")
        return "jsonl", Told("sure" if agrees else "likely", f"the file begins with an object{packed}")
    if ending in _TABLE_ENDINGS:
        return "csv", Told("sure", f"the file's name ends in {ending}{packed}")
    if ending in (".jsonl", ".ndjson", ".json", ".jsonlines"):
        return "jsonl", Told("likely", f"the file's name ends in {ending}{packed}")
    first = begin.split(b"\n", 1)[0]
    if ending in (".txt", "") and (b"," in first or b"\t" in first) and b"\0" not in head:
        return "csv", Told("guess", f"the first line looks like the header of a table{packed}")
    return "jsonl", Told("guess", f"nothing says what the file is{packed}")


def _entry(asked: Asked, file: Path, entries: Any) -> Source:
    name, entry = described.choose_entry(entries, asked.config, file)
    where = f"{file}, entry {name}"
    layout, fields = described.layout_of(entry, where)
    inner = replace(asked, config=entry.get("subset"), split=asked.split or entry.get("split"), format=None)
    if isinstance(entry.get("file_name"), str):
        source = open_asked(replace(inner, given=str(file.parent / entry["file_name"]), config=None, split=asked.split))
    elif isinstance(entry.get("hf_hub_url"), str):
        source = open_asked(replace(inner, given=f"hub:{entry['hf_hub_url']}"))
    else:
        raise DataError("the entry names no file and no dataset of the hub", where=plain(where))
    source.name, source.address = asked.given, str(file)
    why = f"{source.told.why}; entry {plain(name, limit=60)} of {described.FILE}"
    source.told = Told(source.told.certainty, why, layout, fields)
    return source


def _folder(asked: Asked, path: Path) -> Source:
    """A folder: one that `datasets` saved, one with shards, one with a description, or one with pictures."""
    where = str(path)
    if asked.format in (None, "saved"):
        if (path / "dataset_dict.json").is_file():
            return _saved_splits(asked, path)
        if (path / "state.json").is_file():
            splits.refuse(asked.split, where=where)
            told = Told("sure", "the folder has a state.json of datasets")
            return _saved(asked, path, path, told)
        if asked.format == "saved":
            raise DataError("the folder was not saved by datasets: it has no state.json", where=plain(where))
    if asked.format is None and (path / described.FILE).is_file():
        entries = described.entries_of(path / described.FILE)
        if entries is not None:
            return _entry(asked, path / described.FILE, entries)
    if asked.format in (None, "webdataset", "parquet", "arrow") and (files := _shards_in(path, asked.format)):
        return _shards(asked, path, files)
    if asked.format in (None, "imagefolder"):
        return _pictures(asked, path)
    raise DataError(f"the folder has no files of the format {asked.format}", where=plain(where))


def _saved_splits(asked: Asked, path: Path) -> Source:
    import json

    try:
        available = [str(name) for name in json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "the folder's dataset_dict.json cannot be read"
        raise DataError(what, where=plain(str(path)), why=plain(str(error), limit=200)) from None
    split = splits.choose(available, asked.split, where=str(path))
    if Path(split).name != split:
        raise DataError("dataset_dict.json names a folder outside its own", where=plain(str(path)), why=plain(split))
    told = Told("sure", f"the folder has a dataset_dict.json of datasets{splits.said(split, available)}")
    return _saved(asked, path, path / split, told)


def _saved(asked: Asked, path: Path, folder: Path, told: Told) -> Source:
    files = saved_files(folder)
    _require_allowed(asked, files)
    return Columns(asked.given, "saved", path, files, told)


def _shards_in(path: Path, format: str | None) -> list[Path]:
    """Files of one dataset in a folder, or in its folder `data` as on the hub."""
    endings = {".tar": "webdataset", **_COLUMN_ENDINGS}
    for folder in (path, path / "data"):
        try:
            found = (
                sorted(f for f in folder.iterdir() if endings.get(f.suffix) and f.is_file()) if folder.is_dir() else []
            )
        except OSError as error:
            raise unreadable(folder, error) from None
        found = [file for file in found if format in (None, endings[file.suffix])]
        kinds = {endings[file.suffix] for file in found}
        if len(kinds) > 1:
            hint = f"name one of them, or say which with --dataset-format: {', '.join(sorted(kinds))}"
            raise DataError("the folder has files of several formats", where=plain(str(folder)), hint=hint)
        if found:
            return found
    return []


def _several(path: Path) -> list[Path]:
    """The files of a pattern: `shard-{000..011}.tar`, or one with * and ?."""
    text = str(path)
    if braces := _BRACES.search(text):
        first, last, width = int(braces[1]), int(braces[2]), len(braces[1])
        if not 0 <= last - first < _MOST_SHARDS:
            raise DataError("the range of the pattern cannot be used", where=plain(text))
        numbers = range(first, last + 1)
        return [Path(text[: braces.start()] + f"{n:0{width}}" + text[braces.end() :]) for n in numbers]
    if any(character in text for character in "*?["):
        # Not Path.glob: the pattern may be absolute, and in any of its parts.
        return [Path(name) for name in sorted(islice(glob.iglob(text), _MOST_SHARDS))]  # noqa: PTH207
    return []


def _shards(asked: Asked, path: Path, files: Sequence[Path]) -> Source:
    for file in files:
        look(file)
    _require_allowed(asked, files)
    by_split = splits.by_name(files)
    split = splits.choose(list(by_split), asked.split, where=str(path))
    chosen = by_split[split]
    format, told = _recognised(chosen[0], first_bytes(chosen[0], unpacked=True))
    count = f"{len(chosen)} file{'s' if len(chosen) != 1 else ''}"
    # One file, or names that count up, are one dataset; others may be several that lie together.
    certain = len(chosen) == 1 or all(splits.counts_up(file) for file in chosen)
    why = f"{count}; {told.why}{splits.said(split, list(by_split))}"
    told = Told(told.certainty if certain else "likely", why)
    base = path if path.is_dir() else files[0].parent
    if format == "webdataset":
        return Shards(asked.given, base, chosen, told)
    if format in ("parquet", "arrow"):
        return Columns(asked.given, format, base, chosen, told)
    what = f"several files of the format {FORMATS[format]} are not read as one dataset"
    raise DataError(what, where=plain(str(path)), hint="convert them, or give one file")


def _pictures(asked: Asked, path: Path) -> Source:
    available = sorted(f.name for f in path.iterdir() if f.name.lower() in splits.SPLITS and f.is_dir())
    folder, said = path, ""
    if available and not any((path / name).exists() for name in METADATA):
        split = splits.choose(available, asked.split, where=str(path))
        folder, said = path / split, splits.said(split, available)
    else:
        splits.refuse(asked.split, where=str(path))
    names = [file.name for file in islice(walk(folder), _LOOKED_THROUGH)]
    pictures = sum(Path(name).suffix[1:].lower() in PICTURES for name in names)
    metadata = next((name for name in names if name in METADATA), None)
    if metadata:
        told = Told("sure", f"the folder has pictures and a {metadata}{said}")
    elif pictures:
        told = Told("likely", f"the folder has {pictures} picture{'s' if pictures != 1 else ''}{said}")
    else:
        others = [f for f in names if suffix(Path(f)) in (".jsonl", ".json", ".csv", ".tsv", ".ndjson")][:5]
        hint = "the folder has " + ", ".join(plain(name, limit=60) for name in others) if others else "give a file"
        raise DataError("the dataset is a folder, not a file, and has no pictures", where=plain(str(path)), hint=hint)
    return PictureFolder(asked.given, folder, told, asked.policy)
