"""The files of a model that a push sends: result files only, without local paths, and with no credentials in them."""

import fnmatch
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line
from mg_tui.engine.inference.loading import load_processor
from mg_tui.engine.inference.locator import LocatedModel
from mg_tui.engine.results.model_card import render_model_card
from mg_tui.engine.results.secret_scan import SecretFinding, find_secrets, has_secret_name
from mg_tui.engine.results.shareable import is_local_path, last_part, shareable_metadata
from mg_tui.families.family import ModelFamily
from mg_tui.runs.result_metadata import ADAPTER_CONFIG, METADATA_FILE, ResultMetadata, read_json_object

CARD: Final = "README.md"
# Everything a result consists of. Other files of its folder (optimizer, journal, log, images) stay here.
RESULT_PATTERNS: Final = (
    "*.safetensors", "*.safetensors.index.json", ADAPTER_CONFIG, "config.json", "generation_config.json",
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "tokenizer.json",
    "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.json", "chat_template.jinja", METADATA_FILE, CARD, "LICENSE*", "NOTICE*",
)  # fmt: skip
# Weights of a checkpoint's own form, and what only resuming needs.
_NOT_RESULTS: Final = ("trained_weights.safetensors", "optimizer*", "trained*.safetensors")
_PROCESSOR_FILES: Final = ("processor_config.json", "preprocessor_config.json")
# Vocabularies hold any text, paths and words that look like keys included, and none of it is ours.
_VOCABULARIES: Final = frozenset({"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"})
_NAME_KEYS: Final = frozenset(
    {"_name_or_path", "name_or_path", "base_model_name_or_path", "tokenizer_file", "vocab_file"}
)
_MAX_TEXT_BYTES: Final = 64 << 20
_MAX_HEADER_BYTES: Final = 100 << 20  # what the safetensors format allows


@dataclass(frozen=True, slots=True)
class PushFile:
    """A file to push: its name in the repository, and where its content is or what it is."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass(frozen=True, slots=True)
class PushPackage:
    """Everything one push sends, names of files in the model's folder that stay, and paths that no file may hold."""

    files: tuple[PushFile, ...]
    left_out: tuple[str, ...]
    metadata: ResultMetadata
    private: tuple[str, ...]


def is_result_file(name: str) -> bool:
    """Whether a file of this name belongs to a result."""
    matches = any(fnmatch.fnmatchcase(name, pattern) for pattern in RESULT_PATTERNS)
    return matches and not any(fnmatch.fnmatchcase(name, pattern) for pattern in _NOT_RESULTS)


def make_package(
    located: LocatedModel,
    family: ModelFamily,
    *,
    repository: str,
    base_name: str | None = None,
    card: Path | None = None,
    home: Path,
) -> PushPackage:
    """Choose and prepare the files of a result, a checkpoint of an adapter, or a merged model.

    Args:
        repository: OWNER/NAME, for the card.
        base_name: the base model's name on the Hub, where it was trained from a folder.
        card: a model card to push in place of the one made from the metadata.
        home: where runs are; its path must be in no file.

    Raises:
        UsageError: a file holds or is called like a credential, or holds a path of this machine; or it is no result.
    """
    folder = located.folder
    assert folder is not None
    metadata = _complete_metadata(located, family, base_name)
    present = sorted(path for path in folder.iterdir() if path.is_file())
    _require_no_secret_names(folder)
    files = {path.name: _prepare(path, metadata) for path in present if is_result_file(path.name)}
    if not any(name in files for name in _PROCESSOR_FILES):
        files |= _processor_files(located, family)
    text = _read_card(card) if card else _make_card(metadata, family, repository, None)
    files[CARD] = PushFile(CARD, text.encode())
    record = metadata.model_dump(mode="json", by_alias=True)
    files[METADATA_FILE] = PushFile(METADATA_FILE, _to_json(record))
    package = tuple(files[name] for name in sorted(files))
    private = tuple(_private_paths(located, home))
    _require_nothing_private(package, private)
    left = tuple(
        path.name + ("/" if path.is_dir() else "") for path in sorted(folder.iterdir()) if path.name not in files
    )
    return PushPackage(package, left, metadata, private)


def with_license(
    package: PushPackage, family: ModelFamily, *, repository: str, base_license: Mapping[str, str]
) -> PushPackage:
    """The package with the license of the base model in the card that `make_package` made.

    Raises:
        UsageError: as `make_package`.
    """
    card = PushFile(CARD, _make_card(package.metadata, family, repository, base_license).encode())
    _require_nothing_private([card], package.private)
    files = tuple(card if file.name == CARD else file for file in package.files)
    return replace(package, files=files)


def _complete_metadata(located: LocatedModel, family: ModelFamily, base_name: str | None) -> ResultMetadata:
    metadata = shareable_metadata(located.metadata, base_name=base_name)
    config = located.base.config or {}
    known = {"family": family.key, "model_type": str(config.get("model_type", ""))}
    return metadata.model_copy(update={key: value for key, value in known.items() if not getattr(metadata, key)})


def _make_card(
    metadata: ResultMetadata, family: ModelFamily, repository: str, base_license: Mapping[str, str] | None
) -> str:
    title = repository.partition("/")[2]
    return render_model_card(
        metadata, title=title, family=family.title, folder=Path(title), repository=repository, base_license=base_license
    )


def _read_card(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError("the model card cannot be read", where=str(card), why=str(error)) from None


def _prepare(path: Path, metadata: ResultMetadata) -> PushFile:
    """A file as it is, or a configuration without the names of folders in it."""
    if path.suffix != ".json" or path.name in _VOCABULARIES or path.name.endswith(".index.json"):
        return PushFile(path.name, path)
    record = read_json_object(path)
    changed = _without_names(record)
    if path.name == ADAPTER_CONFIG:
        changed["base_model_name_or_path"] = metadata.base.name
    return PushFile(path.name, path if changed == record else _to_json(changed))


def _without_names(value: Any) -> Any:
    """Plain values in which the names of folders under the keys that libraries write them to became their last part."""
    if isinstance(value, list):
        return [_without_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: last_part(item)
        if key in _NAME_KEYS and isinstance(item, str) and is_local_path(item)
        else _without_names(item)
        for key, item in value.items()
    }


def _to_json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode()


def _processor_files(located: LocatedModel, family: ModelFamily) -> dict[str, PushFile]:
    """A checkpoint has no processor: that of its base model, with the limits of the run."""
    processor = load_processor(located, family)
    with tempfile.TemporaryDirectory() as place:
        processor.save_pretrained(place)
        found = [path for path in sorted(Path(place).iterdir()) if path.is_file() and is_result_file(path.name)]
        prepared = [(_prepare(path, located.metadata), path) for path in found]
        # The folder is gone when the files are sent.
        return {
            file.name: PushFile(file.name, file.source if isinstance(file.source, bytes) else path.read_bytes())
            for file, path in prepared
        }


def _require_no_secret_names(folder: Path) -> None:
    named = [path.name for path in sorted(folder.iterdir()) if has_secret_name(path.name)]
    if named:
        raise UsageError(
            f"nothing was pushed: {one_line(named[0], limit=80)} is a file that credentials are kept in",
            where=str(folder / named[0]),
            hint="move it out of the folder of the model",
        )


def _require_nothing_private(files: Sequence[PushFile], paths: Sequence[str]) -> None:
    for file in files:
        text = _text_of(file)
        found: SecretFinding | None = next(find_secrets(file.name, text), None)
        if found is not None:
            raise UsageError(
                "nothing was pushed: a file holds what looks like a credential",
                why=str(found),
                where=str(file.source) if isinstance(file.source, Path) else file.name,
                hint="remove it, and revoke it if others have read the file",
            )
        path = None if file.name in _VOCABULARIES else next((path for path in paths if path in text), None)
        if path is not None:
            raise UsageError(
                f"nothing was pushed: {file.name} holds a path of this machine",
                where=str(file.source) if isinstance(file.source, Path) else file.name,
                why=path,
                hint="remove it from the file, or from the text it is made of, such as a system prompt",
            )


def _text_of(file: PushFile) -> str:
    """The text of a file; of weights the header, which any program may write notes into."""
    if isinstance(file.source, bytes):
        return file.source.decode("utf-8", "replace")
    with file.source.open("rb") as stream:
        if file.name.endswith(".safetensors"):
            length = int.from_bytes(stream.read(8), "little")
            return stream.read(min(length, _MAX_HEADER_BYTES)).decode("utf-8", "replace")
        return stream.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")


def _private_paths(located: LocatedModel, home: Path) -> list[str]:
    """Paths that would tell where things are on this machine; short ones occur in texts by chance."""
    known: Iterator[object] = iter(
        [located.folder, home, Path.home(), located.metadata.base.path, *located.metadata.spec.values()]
    )
    texts = {str(path) for path in known if isinstance(path, Path | str)}
    return sorted(
        text for text in texts if text.startswith("/") and len(re.findall(r"/[^/\n]+", text)) >= 2 and "\n" not in text
    )
