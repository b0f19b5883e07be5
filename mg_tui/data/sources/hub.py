"""A Hugging Face Hub dataset as a source, streamed. Code that comes with a dataset is never executed.

One commit is read: the one that the revision (or the default branch) pointed to when the dataset was opened. It is part
of the dataset's address, so that the check, the run and a resumed run read the same rows.

The token is read as by the Hub's own tools: from `HF_TOKEN`, or the one saved by `hf auth login`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import Row
from mg_tui.data.sources import splits
from mg_tui.data.sources.base import FormatEvidence, Source

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]{1,200})?")
_PREFIX: Final = re.compile(r"(hf://datasets/|hub:)")
_TIMEOUT_SECONDS: Final = 15.0
_NETWORK_HINT: Final = "check the network or HF_ENDPOINT, or use a local file"


def parse_hub_name(text: str) -> str | None:
    """The Hub name (`owner/name` or `owner/name@revision`) of a text, without its prefix; None when it is not one."""
    name = _PREFIX.sub("", text, count=1)
    return name if _NAME.fullmatch(name) and ".." not in name else None


def has_hub_prefix(text: str) -> bool:
    """Whether a text starts with a prefix of Hub names."""
    return _PREFIX.match(text) is not None


class HubSource(Source):
    """One split of a Hub dataset. Rows are numbered from 1."""

    def __init__(
        self, name: str, repository: str, cwd: Path, *, config: str | None, split: str | None, evidence: FormatEvidence
    ):
        super().__init__(name, "hub", None, cwd, evidence)
        self.address = f"hub:{repository}"
        self._repository, _at, revision = repository.partition("@")
        self._revision: str | None = revision or None
        self._config = config
        self._split = split
        self._preferred: tuple[str, ...] = ()
        self._stream: Any = None

    def prefer_splits(self, names: Sequence[str]) -> None:
        """Read the first of these splits that the dataset has, where none was requested; before any row is read."""
        self._preferred = tuple(names)

    def rows(self, start: int = 1) -> Iterator[Row]:
        """See `Source`."""
        stream = self._open_once()
        number = start - 1
        try:
            for values in stream.skip(start - 1) if start > 1 else stream:
                number += 1
                yield Row(number, {str(name): self._load_remote_images(value) for name, value in values.items()}, None)
        except Exception as error:  # the library, its file systems and decoders raise many types
            raise self._to_garden_error(error) from error
        if not number and start == 1:
            raise DataError("the dataset has no rows", where=safe_line(self.name))

    def count(self) -> int | None:
        """See `Source`."""
        split = (self._open_once().info.splits or {}).get(str(self._open_once().split))
        return int(split.num_examples) if split is not None and split.num_examples else None

    def _open_once(self) -> Any:
        if self._stream is None:
            self._stream = self._open()
        return self._stream

    def _open(self) -> Any:
        import datasets  # type: ignore[import-untyped]

        try:
            commit = resolve_commit(self._repository, self._revision)
            available = datasets.get_dataset_split_names(self._repository, self._config, revision=commit)
            split = self._choose_split(available)
            stream = datasets.load_dataset(self._repository, self._config, split=split, streaming=True, revision=commit)
            self.address = f"hub:{self._repository}@{commit}"
        except DataError:
            raise
        except Exception as error:
            raise self._to_garden_error(error) from error
        return _without_decoding(stream)

    def _choose_split(self, available: Sequence[str]) -> str:
        """The split to read; the evidence says so where it was chosen of several by preference."""
        preferred = next((name for name in self._preferred if name in available), None)
        if self._split is not None or preferred is None:
            return splits.choose_split(available, self._split, where=self.name)
        why = self.evidence.why + splits.describe_split(preferred, available)
        self.evidence = replace(self.evidence, why=why)
        return preferred

    def _load_remote_images(self, value: Any) -> Any:
        """A value with its images as bytes; images that the stream only references are downloaded."""
        if isinstance(value, Mapping):
            path = value.get("path")
            if set(value) == {"bytes", "path"} and value["bytes"] is None and isinstance(path, str) and "://" in path:
                import fsspec

                with fsspec.open(path, "rb") as file:
                    return {"bytes": file.read(), "path": path.rpartition("/")[2]}
            return {name: self._load_remote_images(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._load_remote_images(item) for item in value]
        return value

    def _to_garden_error(self, error: Exception) -> Exception:
        if isinstance(error, DataError | EnvironmentProblem):
            return error
        kind = type(error).__name__
        why = safe_line(str(error).strip().splitlines()[0] if str(error).strip() else kind, limit=300)
        where = safe_line(self.name)
        if os.environ.get("HF_HUB_OFFLINE") == "1" or os.environ.get("HF_DATASETS_OFFLINE") == "1":
            what = "the dataset is on the Hub, but HF_HUB_OFFLINE is set"
            return EnvironmentProblem(what, where=where, hint="unset it, or use a local file")
        if kind == "GatedRepoError" or "gated" in why.lower():
            hint = "request access on its page and set HF_TOKEN"
            return EnvironmentProblem("the dataset is gated", where=where, why=why, hint=hint)
        if kind in ("RepositoryNotFoundError", "DatasetNotFoundError"):
            hint = "check the name; private datasets require HF_TOKEN"
            return DataError("no such local file or Hub dataset", where=where, hint=hint)
        if isinstance(error, ValueError) and "onfig" in why:
            return DataError(
                "cannot open this dataset configuration", where=where, why=why, hint="use --dataset-config"
            )
        if "script" in why.lower():
            what = "the dataset uses a loading script, which is never executed"
            return DataError(what, where=where, hint="use a Parquet version of it")
        if isinstance(error, OSError) or "onnect" in kind or "Timeout" in kind:
            what = "no such local file, and the Hub is unreachable"
            return EnvironmentProblem(what, where=where, why=why, hint=_NETWORK_HINT)
        return DataError("cannot read the Hub dataset", where=where, why=f"{kind}: {why}")


def resolve_commit(repository: str, revision: str | None) -> str:
    """The commit hash that a revision of a dataset points to.

    One request: opening the dataset through the library would retry for half a minute and print to the terminal. Raises
    the exceptions of the Hub's library when the Hub cannot be reached, or has no such dataset.
    """
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repository, revision=revision, timeout=_TIMEOUT_SECONDS).sha)


def _without_decoding(stream: Any) -> Any:
    """The stream with images as undecoded bytes, to be decoded by `mg_tui.data.images`, and class labels as names."""
    import datasets

    features = stream.features
    if features is None:
        return stream
    for name, feature in list(features.items()):
        if isinstance(feature, datasets.Image):
            stream = stream.cast_column(name, datasets.Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            stream = stream.cast_column(name, type(feature)(datasets.Image(decode=False)))
        elif isinstance(feature, datasets.ClassLabel):
            stream = stream.map(_ClassNamer(name, list(feature.names)))
    return stream


class _ClassNamer:
    """Replaces the number of a class label by its name."""

    def __init__(self, name: str, names: list[str]):
        self._name = name
        self._names = names

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        value = row[self._name]
        known = isinstance(value, int) and 0 <= value < len(self._names)
        return {self._name: self._names[value] if known else value}


def hub_evidence(repository: str) -> FormatEvidence:
    """The evidence for a text that is taken for a Hub name without a prefix."""
    return FormatEvidence("likely", f"{safe_line(repository)} looks like a Hub name and is not a local file")
