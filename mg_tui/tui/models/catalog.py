"""The models a person can use on this machine: results, then base models that need no download."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mg_tui.core.text import one_line
from mg_tui.tui import evaluation_scores, recents

if TYPE_CHECKING:
    from mg_tui.families.registry import Registry
    from mg_tui.runs.results import Result

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
    """A model in the list. Texts are safe to show; `given` is what the engine is asked for, and is not.

    `created` is Unix time in seconds, `bytes` the size of the weights, `match` the share of answers that were exact;
    `run_folder` is where its run is, None when it is not there any more.
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

    @property
    def is_result(self) -> bool:
        """Whether it was made here, rather than downloaded."""
        return self.kind in ("adapter", "model", "merged")

    def matches(self, query: str) -> bool:
        """Whether every word of `query` is in what is shown of it."""
        text = f"{self.title} {self.kind} {KIND_LABELS[self.kind]} {self.base} {self.run or ''}".casefold()
        return all(word in text for word in query.casefold().split())


def find_models(home: Path) -> tuple[ModelRow, ...]:
    """Every model there is, results first and newest first. Reads files; for a thread."""
    from mg_tui.runs.results import find_results

    remembered = [item.reference for item in recents.read(home, "models")]
    folders = [Path(given) for given in remembered if Path(given).is_absolute()]
    examined = evaluation_scores.read(home)
    results = [
        _result_row(result, examined.get(str(result.folder)), _run_folder(home, result.run))
        for result in find_results(home, folders)
    ]
    names = [given for given in remembered if not Path(given).is_absolute()]
    return (*results, *_find_base_models(names))


def _run_folder(home: Path, run: str | None) -> Path | None:
    from mg_tui.runs.folder import RUNS_FOLDER, RunFolder

    if not run or "/" in run or "\0" in run:
        return None
    folder = RunFolder(home / RUNS_FOLDER / run)
    return folder.path if folder.journal_file.is_file() else None


def _result_row(result: "Result", examined: float | None, run_folder: Path | None) -> ModelRow:
    title = one_line(result.name or _result_name(result.folder), limit=200)
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
        exact_match=_finite_float(training.get("exact_match")) if examined is None else examined,
        summary=_summarize_result(result),
        folder=result.folder,
        run_folder=run_folder,
        dataset=result.dataset,
        training=training,
    )


def _result_name(folder: Path) -> str:
    """A run's result is called `model` in the run's folder: the run's id says more."""
    return folder.parent.name if folder.name == "model" else folder.name


def _summarize_result(result: "Result") -> str:
    training, parts = result.training, []
    for key, text in (("steps", "{:,} steps"), ("examples", "{:,} examples")):
        if isinstance(value := training.get(key), int) and value:
            parts.append(text.format(value))
    if (final := _finite_float(training.get("final_loss"))) is not None:
        parts.append(f"train loss {final:.4f}")
    if trained := _finite_float(training.get("trainable_parameters")):
        parts.append(f"{trained / 1e6:.1f}M weights trained")
    if isinstance(device := training.get("device"), str):
        parts.append(one_line(device, limit=60))
    if result.dataset:
        parts.append("on " + one_line(result.dataset, limit=200))
    return " · ".join(parts)


def _find_base_models(remembered: Iterable[str]) -> Iterator[ModelRow]:
    from mg_tui.families.registry import load_registry

    registry = load_registry()
    listed = {checkpoint.name: checkpoint for checkpoint in registry.checkpoints}
    for name in dict.fromkeys([*listed, *_cached_model_names(), *remembered]):
        row = _base_model_row(name, registry)
        if row is not None:
            yield row


def _base_model_row(name: str, registry: "Registry") -> ModelRow | None:
    """A base model that is on this machine and that a family handles, else None."""
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
    known = next((item for item in registry.checkpoints if item.name == name), None)
    about = [model.family.title]
    if known is not None and known.parameters:
        about.append(f"{_format_parameters(known.parameters)} parameters")
    if known is not None and known.note:
        about.append(known.note)
    return ModelRow(
        name, "base", one_line(name), base=model.family.title, bytes=size, summary=one_line(" · ".join(about))
    )


def _format_parameters(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.1f}M"


def _cached_model_names() -> list[str]:
    """Names of the models in the hub's cache."""
    from mg_tui.families import hub

    try:
        names = sorted(entry.name for entry in hub.cache_folder().iterdir() if entry.name.startswith("models--"))
    except OSError:
        return []
    return [name.removeprefix("models--").replace("--", "/", 1) for name in names]


def _finite_float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None
