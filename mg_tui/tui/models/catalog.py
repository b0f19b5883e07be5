"""The models on this machine: results, then base models that need no download."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mg_tui.core.text import one_line, pluralize
from mg_tui.runs import recents
from mg_tui.tui import evaluation_scores, formatting

if TYPE_CHECKING:
    from mg_tui.families.registry import Registry
    from mg_tui.runs.model_scores import ModelScore
    from mg_tui.runs.results import Result

EXACT_MATCH: Final = "exact_match"
ModelKind = Literal["adapter", "model", "merged", "base", "broken"]
KIND_GLYPHS: Final[Mapping[str, str]] = {"adapter": "◈", "model": "◆", "merged": "◆", "base": "○", "broken": "✗"}
KIND_LABELS: Final[Mapping[str, str]] = {
    "adapter": "adapter",
    "model": "full",
    "merged": "merged",
    "base": "base",
    "broken": "broken",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in the list. Texts are printable except `reference`.

    Attributes:
        reference: what the engine loads: a folder, or a name on the hub.
        created: Unix time in seconds.
        bytes: size of the weights.
        exact_match: share of answers that were the expected ones.
        scores: by metric, of its newest evaluations.
        run_folder: the folder of its run; None when it does not exist.
    """

    reference: str
    kind: ModelKind
    title: str
    base: str = ""
    run: str | None = None
    created: float | None = None
    bytes: int = 0
    eval_loss: float | None = None
    exact_match: float | None = None
    summary: str = ""
    folder: Path | None = None
    run_folder: Path | None = None
    dataset: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict, hash=False)
    scores: "Mapping[str, ModelScore]" = field(default_factory=dict, hash=False)

    @property
    def is_result(self) -> bool:
        """Whether a run or a merge made it."""
        return self.kind in ("adapter", "model", "merged")

    def matches(self, query: str) -> bool:
        """Whether every word of `query` is in its title, kind, base or run."""
        text = f"{self.title} {self.kind} {KIND_LABELS[self.kind]} {self.base} {self.run or ''}".casefold()
        return all(word in text for word in query.casefold().split())


def find_models(home: Path) -> tuple[ModelRow, ...]:
    """Every model, results first, newest first. Reads files; for a thread."""
    from mg_tui.runs.model_scores import read_model_scores
    from mg_tui.runs.results import find_results

    recent = [item.reference for item in recents.read(home, "models")]
    folders = [Path(reference) for reference in recent if Path(reference).is_absolute()]
    exact, scores = evaluation_scores.read(home), read_model_scores(home)
    results = [
        _with_scores(_result_row(result, exact.get(str(result.folder)), _run_folder(home, result.run)), scores)
        for result in find_results(home, folders)
    ]
    names = [reference for reference in recent if not Path(reference).is_absolute()]
    return (*results, *(_with_scores(row, scores) for row in _find_base_models(names)))


def _with_scores(row: ModelRow, scores: "Mapping[str, Mapping[str, ModelScore]]") -> ModelRow:
    """The model with the scores of its evaluations."""
    from mg_tui.runs.model_scores import scores_of

    names = (row.reference, *([row.run] if row.run and row.kind != "merged" else []))
    found = scores_of(scores, row.folder, names)
    if EXACT_MATCH in found:
        return replace(row, scores=found, exact_match=found[EXACT_MATCH].value)
    return replace(row, scores=found)


def _run_folder(home: Path, run: str | None) -> Path | None:
    from mg_tui.runs.folder import RUNS_FOLDER, RunFolder

    if not run or "/" in run or "\0" in run:
        return None
    folder = RunFolder(home / RUNS_FOLDER / run)
    return folder.path if folder.journal_file.is_file() else None


def _result_row(result: "Result", score: float | None, run_folder: Path | None) -> ModelRow:
    from mg_tui.runs.results import result_name

    title = one_line(result.name or result_name(result.folder), limit=200)
    if result.problem:
        return ModelRow(str(result.folder), "broken", title, summary=one_line(result.problem), folder=result.folder)
    training = result.training
    return ModelRow(
        str(result.folder),
        "adapter" if result.is_adapter else "merged" if result.kind == "merged" else "model",
        title + (" (merged)" if result.kind == "merged" and result.name else ""),
        base=one_line(result.base, limit=200),
        run=one_line(result.run) if result.run else None,
        created=result.created,
        bytes=result.bytes,
        eval_loss=_finite_float(training.get("eval_loss")),
        exact_match=_finite_float(training.get("exact_match")) if score is None else score,
        summary=_summarize_result(result),
        folder=result.folder,
        run_folder=run_folder,
        dataset=result.dataset,
        training=training,
    )


def _summarize_result(result: "Result") -> str:
    training, parts = result.training, []
    for key in ("steps", "examples"):
        if isinstance(value := training.get(key), int) and value:
            parts.append(pluralize(value, key.removesuffix("s")))
    if (final := _finite_float(training.get("final_loss"))) is not None:
        parts.append(f"train loss {final:.4f}")
    if trained := _finite_float(training.get("trainable_parameters")):
        parts.append(f"{trained / 1e6:.1f}M weights trained")
    if isinstance(device := training.get("device"), str):
        parts.append(one_line(device, limit=60))
    if result.dataset:
        parts.append("on " + one_line(result.dataset, limit=200))
    return " · ".join(parts)


def _find_base_models(recent_names: Iterable[str]) -> Iterator[ModelRow]:
    from mg_tui.families.registry import load_registry

    registry = load_registry()
    listed = {checkpoint.name: checkpoint for checkpoint in registry.checkpoints}
    for name in dict.fromkeys([*listed, *_cached_model_names(), *recent_names]):
        row = _base_model_row(name, registry)
        if row is not None:
            yield row


def _base_model_row(name: str, registry: "Registry") -> ModelRow | None:
    """A base model that is on this machine and belongs to a family, else None."""
    from mg_tui.core.errors import GardenError
    from mg_tui.families import hub

    try:
        model = registry.resolve(name)
    except GardenError:
        return None
    folder = Path(model.source) if model.local else hub.cached_snapshot(model.source)
    if folder is None or model.family is None or model.config is None:
        return None
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not size:
        return None
    checkpoint = next((item for item in registry.checkpoints if item.name == name), None)
    parts = [model.family.title]
    if checkpoint is not None and checkpoint.parameters:
        parts.append(f"{formatting.parameters(checkpoint.parameters)} parameters")
    if checkpoint is not None and checkpoint.note:
        parts.append(checkpoint.note)
    summary = one_line(" · ".join(parts))
    return ModelRow(name, "base", one_line(name), base=model.family.title, bytes=size, summary=summary)


def _cached_model_names() -> list[str]:
    """Names of the models in the cache of the hub."""
    from mg_tui.families import hub

    try:
        names = sorted(entry.name for entry in hub.cache_folder().iterdir() if entry.name.startswith("models--"))
    except OSError:
        return []
    return [name.removeprefix("models--").replace("--", "/", 1) for name in names]


def _finite_float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None
