"""The checkpoint format on disk: folder names, the manifest, and whether a checkpoint is complete.

A checkpoint is a folder `checkpoints/step-000200` with a manifest, `checkpoint.json`, that lists every file with its
size and CRC-32. The engine writes one under a hidden name and renames it when it is on the disk (see
`mg_tui.engine.checkpointing.writer`); faces read it from here. Standard library only.
"""

import json
import math
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SCHEMA_VERSION: Final = 1
MANIFEST_FILE: Final = "checkpoint.json"
STEP_PREFIX: Final = "step-"
_CHECKSUM: Final = "crc32"  # of the manifest itself
UNFINISHED_PREFIX: Final = ".writing-"  # of a folder that is being written or removed

TRAINED_WEIGHTS_FILE: Final = "trained.safetensors"  # of training in full; an adapter has PEFT's own file
TRAINER_STATE_FILE: Final = "trainer_state.json"
LAYOUT_FILE: Final = "layout.json"  # how steps were laid out: {"token_budget": int}


LOSS: Final = "loss"


@dataclass(frozen=True, slots=True)
class BestBy:
    """The score of an evaluation that decides which checkpoint is the best: the loss, or a metric of answers."""

    metric: str = LOSS
    higher_is_better: bool = False

    def is_better(self, score: float | None, than: float | None) -> bool:
        """Whether a score is better than another one; a score that is no number never is."""
        if score is None or not math.isfinite(score):
            return False
        return than is None or (score > than if self.higher_is_better else score < than)


@dataclass(frozen=True, slots=True)
class BestCheckpoint:
    """The best checkpoint: its folder, its step, its evaluation loss (None: not a number), the score that
    decided, and all metrics of answers."""

    path: Path
    step: int
    eval_loss: float | None
    score: float
    by: BestBy = BestBy()
    eval_metrics: Mapping[str, float] = field(default_factory=dict)


def folder_of(checkpoints: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` optimizer steps, whether or not it exists."""
    return checkpoints / f"{STEP_PREFIX}{step:06d}"


def step_of(folder: Path) -> int | None:
    """The step a checkpoint folder is named for; None for any other folder."""
    digits = folder.name.removeprefix(STEP_PREFIX)
    return int(digits) if folder.name.startswith(STEP_PREFIX) and digits.isdecimal() else None


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Every checkpoint folder, oldest step first, complete or not (see `find_problem`)."""
    if not checkpoints.is_dir():
        return []
    steps = [(step, path) for path in checkpoints.iterdir() if (step := step_of(path)) is not None and path.is_dir()]
    return [path for _, path in sorted(steps)]


def list_valid(checkpoints: Path, *, contents: bool = True) -> list[Path]:
    """Every complete checkpoint, oldest step first; `contents` as in `find_problem`."""
    return [folder for folder in list_checkpoints(checkpoints) if find_problem(folder, contents=contents) is None]


def make_manifest(step: int, about: Mapping[str, Any], files: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Args:
        step: optimizer steps done.
        about: facts about the run, e.g. `eval_loss`.
        files: size in bytes and CRC-32 of each file, by its path relative to the checkpoint.
    """
    listed = {name: {"bytes": size, "crc32": crc} for name, (size, crc) in files.items()}
    return with_checksum({"schema": SCHEMA_VERSION, "step": step, **about, "files": listed})


def with_checksum(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with a checksum of its own values, in place of an older one."""
    values = {name: value for name, value in manifest.items() if name != _CHECKSUM}
    return {**values, _CHECKSUM: _values_checksum(values)}


def _values_checksum(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def _find_manifest_problem(manifest: Mapping[str, Any], folder: Path) -> str | None:
    """Why a manifest is not that of its folder; manifests of older versions have no checksum."""
    if _CHECKSUM in manifest and with_checksum(manifest) != manifest:
        return f"{MANIFEST_FILE} was changed after it was written"
    step = step_of(folder)
    if step is not None and manifest.get("step", step) != step:
        return f"{MANIFEST_FILE} is of step {manifest['step']}"
    return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint in which `find_problem` finds nothing wrong."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_bytes())
    return manifest


def find_problem(folder: Path, *, contents: bool = True) -> str | None:
    """Why a checkpoint cannot be used, or None when every file is there as it was written.

    Args:
        folder: the checkpoint.
        contents: compare checksums as well as sizes; that reads every byte.
    """
    try:
        manifest = read_manifest(folder)
        files = {name: (facts["bytes"], facts.get("crc32")) for name, facts in manifest["files"].items()}
    except FileNotFoundError:
        return f"{MANIFEST_FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST_FILE} cannot be read: {error}"
    if (problem := _find_manifest_problem(manifest, folder)) is not None:
        return problem
    for name, (expected_size, expected_checksum) in files.items():
        path = folder / name
        try:
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != expected_size:
                return f"{name} has {size} bytes, not {expected_size}"
            if contents and checksum(path) != expected_checksum:
                return f"the content of {name} is not what was written"
        except OSError as error:
            return f"{name} cannot be read: {error}"
    return None


def newest_valid(checkpoints: Path, *, until: int | None = None) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest complete checkpoint, and the newer ones that are damaged, each with its problem.

    With `until`, those after that step are ignored.
    """
    damaged: list[tuple[Path, str]] = []
    for folder in reversed(list_checkpoints(checkpoints)):
        if until is not None and (step_of(folder) or 0) > until:
            continue
        problem = find_problem(folder)
        if problem is None:
            return folder, damaged
        damaged.append((folder, problem))
    return None, damaged


def best_valid(checkpoints: Path) -> BestCheckpoint | None:
    """The complete checkpoint with the best score, the earliest of equals; None when none was evaluated.

    What decides is in the manifests; where they differ, since the run's spec was changed, the newest counts.
    """
    evaluated: list[BestCheckpoint] = []
    for folder in list_checkpoints(checkpoints):
        with suppress(OSError, ValueError, TypeError, AttributeError):
            manifest = read_manifest(folder)
            by = BestBy(str(manifest.get("best_by", LOSS)), manifest.get("higher_is_better") is True)
            loss = _number(manifest.get("eval_loss"))
            metrics = dict(manifest.get("eval_metrics", {}))
            score = loss if by.metric == LOSS else _number(metrics.get(by.metric))
            if score is not None:
                evaluated.append(BestCheckpoint(folder, step_of(folder) or 0, loss, score, by, metrics))
    alike = [item for item in evaluated if item.by == evaluated[-1].by]
    alike.sort(key=lambda item: -item.score if item.by.higher_is_better else item.score)
    return next((item for item in alike if find_problem(item.path) is None), None)


def evaluation_facts(scores: Mapping[str, float], by: BestBy | None) -> dict[str, Any]:
    """An evaluation as a manifest has it; JSON has no NaN, and a NaN cannot rank a checkpoint.

    Args:
        scores: by metric, `loss` among them.
        by: what decides which checkpoint is the best.
    """
    finite = {name: score for name, score in scores.items() if math.isfinite(score)}
    facts: dict[str, Any] = {"eval_loss": finite.pop(LOSS)} if LOSS in finite else {}
    if len(scores) > 1:
        facts["eval_metrics"] = finite
    if by is not None and by.metric != LOSS:
        facts.update(best_by=by.metric, higher_is_better=by.higher_is_better)
    return facts


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_token_budget(checkpoint: Path | None) -> int | None:
    """The token budget that a checkpoint was written with; None when it has none."""
    if checkpoint is None:
        return None
    try:
        tokens = json.loads((checkpoint / LAYOUT_FILE).read_text(encoding="utf-8"))["token_budget"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def write_token_budget(folder: Path, tokens: int) -> None:
    """Write the token budget of a layout into a checkpoint's folder."""
    (folder / LAYOUT_FILE).write_text(json.dumps({"token_budget": tokens}) + "\n", encoding="utf-8")


def checksum(path: Path) -> int:
    """CRC-32 of a file: detects damage, not tampering."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value
