"""Resolves MODEL of a command line: a result folder, a run, or a base model. Free of torch."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import FamilyError, GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.spec import FamilyChoice
from mg_tui.core.text import one_line
from mg_tui.engine.inference.checkpoint_reference import find_checkpoint
from mg_tui.engine.inference.hub_results import download_result, split_revision
from mg_tui.families.auto import AUTO_KEY
from mg_tui.runs.result_metadata import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    METADATA_FILE,
    MODEL_CONFIG,
    BaseModelRef,
    ResultMetadata,
    read_result_metadata,
)

if TYPE_CHECKING:
    from mg_tui.families.registry import Registry, ResolvedModel
    from mg_tui.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model that can be loaded.

    Attributes:
        label: the model's name for messages.
        folder: the adapter's or the model's folder; None for a base model.
        base: the weights to load first: of an adapter its base, else the model itself.
        metadata: how it was trained; assumed where not known.
        notes: what was assumed, for the user.
    """

    label: str
    folder: Path | None
    base: "ResolvedModel"
    metadata: ResultMetadata
    notes: tuple[str, ...] = ()

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter is to be loaded onto the base."""
        return self.metadata.is_adapter

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit of the base on the hub; None for local weights and for another base model."""
        same = self.base.name == self.metadata.base.name
        return self.metadata.base.revision if same and not self.base.local else None


def locate_model(model: str, *, home: Path, registry: "Registry", base_model: str | None = None) -> LocatedModel:
    """Find what `model` means: an alias or listed base model, a folder, a name on the hub, a run.

    Args:
        model: a folder with a result, a run (its folder, id, name, or "last"), a checkpoint of a run (RUN@120,
            RUN@best, RUN/checkpoints/step-000120), a name on the Hub of a result or a base model (OWNER/NAME,
            OWNER/NAME@REVISION), or an alias such as `tiny`.
        home: where runs are.
        base_model: takes the place of the base model that an adapter's folder names.

    Raises:
        UsageError: it means nothing, its files are incomplete or damaged, or the base model is not there.
        FamilyError: no installed family can handle it.
        EnvironmentProblem: a result on the Hub cannot be downloaded.
    """
    known = {checkpoint.name for checkpoint in registry.checkpoints}
    if (checkpoint_folder := find_checkpoint(model, home)) is not None:
        return _from_folder(checkpoint_folder, registry, base_model)
    folder = expand_user(model)
    if folder.is_dir() and model not in known:
        return _from_folder(folder.absolute(), registry, base_model)
    if model not in known and _looks_like_path(model):
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"the model {what}", where=str(folder.absolute()), hint=_HINT)
    if model not in known and (downloaded := download_result(model, registry)) is not None:
        return replace(_from_folder(downloaded, registry, base_model, foreign=True), label=model)
    if model in known or model.count("/") == 1:
        base = registry.resolve(model)
        if base_model:
            raise UsageError("--base-model goes with an adapter's folder", why=f"{model} is a base model itself")
        metadata = ResultMetadata(
            kind="model",
            family="",
            model_type="",
            base=BaseModelRef(name=base.name, path=_local_path(base)),
            assumed=True,
        )
        return LocatedModel(base.name, None, base, metadata)
    from mg_tui.runs.store import find_run

    try:
        run = (_last_run_with_result(home) if model == "last" else None) or find_run(home, model)
    except UsageError as error:
        raise UsageError(f"no folder, run or base model is called {model!r}", why=error.what, hint=_HINT) from None
    return _from_folder(run.path, registry, base_model)


_HINT: Final = (
    "give a result folder (the --output-dir of a run), a run (`model-garden runs` lists them) or a base model"
)


def _looks_like_path(model: str) -> bool:
    if model.startswith((".", "/", "~")) or split_revision(model)[0].count("/") > 1 or expand_user(model).exists():
        return True
    # OWNER/NAME could be a hub name; if a folder OWNER exists, a mistyped path is likelier.
    return "/" in model and Path(model).parent.is_dir()


def _from_folder(folder: Path, registry: "Registry", base_model: str | None, *, foreign: bool = False) -> LocatedModel:
    notes: list[str] = []
    run = _containing_run(folder)
    if run == folder:
        folder = _result_folder_of(run)
    metadata = read_result_metadata(folder, base=base_model)
    if foreign:
        metadata = _distrusted(metadata, notes)
    if metadata.assumed and run is not None:
        metadata = _metadata_from_spec(metadata, run)
    if metadata.assumed:
        notes.append(
            f"{folder} has no {METADATA_FILE}: images are resized as its own processor does, which may differ from how "
            "it was trained"
        )
    if not metadata.is_adapter:
        if base_model:
            raise UsageError("--base-model goes with an adapter's folder", why=f"{folder} holds a whole model")
        _require_model_files(folder)
        return LocatedModel(
            folder.name, folder, registry.resolve(str(folder), choice=_choice(metadata)), metadata, tuple(notes)
        )
    require_adapter_files(folder)
    base = _resolve_base(metadata, folder, registry, base_model)
    _require_same_family(metadata, base, folder)
    return LocatedModel(folder.name, folder, base, metadata, tuple(notes))


def _distrusted(metadata: ResultMetadata, notes: list[str]) -> ResultMetadata:
    """What somebody else wrote neither runs code nor names folders of this machine."""
    if metadata.trust_remote_code:
        notes.append("it was trained with --trust-remote-code; code from the Hub is not run here")
    base = metadata.base.model_copy(update={"path": None})
    return metadata.model_copy(update={"trust_remote_code": False, "base": base})


def _require_same_family(metadata: ResultMetadata, base: "ResolvedModel", folder: Path) -> None:
    """Raises UsageError when the adapter was trained on a model of another family than its base model is of."""
    if metadata.family not in ("", AUTO_KEY) and base.family is not None and base.family.key != metadata.family:
        raise UsageError(
            f"the adapter was trained on a model of the family {one_line(metadata.family, limit=40)}, and its base "
            f"model is of {base.family.key}",
            where=str(folder),
            why=f"the base model is {one_line(base.name, limit=200)}",
            hint="name the base model it was trained on with --base-model",
        )


def _containing_run(folder: Path) -> Path | None:
    """The run whose folder this is, or whose checkpoint (<run>/checkpoints/step-...) it is."""
    for path in (folder, folder.parent.parent):
        if (path / "events.jsonl").is_file() and (path / "spec.json").is_file():
            return path
    return None


def _last_run_with_result(home: Path) -> "RunFolder | None":
    """The newest run that a model can be loaded from: not one that is queued, or failed without a result."""
    from mg_tui.runs.store import run_folders

    for run in run_folders(home):
        with contextlib.suppress(GardenError):  # an unreadable spec
            if _has_model(run.result_dir):
                return run
    return None


def _has_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (METADATA_FILE, ADAPTER_CONFIG, MODEL_CONFIG))


def _result_folder_of(path: Path) -> Path:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.runs.store import summarize_run

    run = RunFolder(path)
    folder = run.result_dir
    if not _has_model(folder):
        raise UsageError(
            f"run {run.id} has no result",
            where=str(folder),
            why=f"the run is {summarize_run(run).state.label}",
            hint=f"see `model-garden runs show {run.id}`; a checkpoint's folder can be used as a model too",
        )
    return folder


def _metadata_from_spec(metadata: ResultMetadata, run: Path) -> ResultMetadata:
    """A checkpoint has no metadata file; its run's spec has the same values."""
    from mg_tui.runs.folder import RunFolder

    try:
        spec = RunFolder(run).read_spec()
    except GardenError:
        return metadata
    values = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels, "system_prompt": spec.system_prompt}
    base = BaseModelRef(name=spec.base_model, revision=spec.revision)
    described = {"base": base, "spec": spec.model_dump(mode="json"), "assumed": False}
    return metadata.model_copy(update={**values, **described})


def _resolve_base(
    metadata: ResultMetadata, folder: Path, registry: "Registry", override: str | None
) -> "ResolvedModel":
    recorded = metadata.base
    # The folder first: an alias may mean other weights by now.
    name = override or (recorded.path if recorded.path and Path(recorded.path).is_dir() else recorded.name)
    listed = any(checkpoint.name == name for checkpoint in registry.checkpoints)
    if not listed and _looks_like_path(name) and not expand_user(name).is_dir():
        raise UsageError(
            "the base model is not there",
            where=name,
            why=None if override else f"the adapter in {folder} was trained on it",
            hint="give the place of the same base model with --base-model",
        )
    try:
        resolved = registry.resolve(name, choice=_choice(metadata))
        return resolved if override else replace(resolved, name=recorded.name)
    except FamilyError:
        raise
    except GardenError as error:
        raise UsageError(
            f"the base model {name!r} cannot be used", where=str(folder), why=error.what, hint=error.hint
        ) from error


def _choice(metadata: ResultMetadata) -> FamilyChoice:
    """A result that was trained generically is loaded so."""
    return "auto" if metadata.family == AUTO_KEY else "known"


def _local_path(base: "ResolvedModel") -> str | None:
    return str(Path(base.source).absolute()) if base.local else None


def processor_source(located: LocatedModel) -> tuple[str, dict[str, Any]]:
    """Where the processor is, in the result's folder or with the base model, and the Hub's arguments for it."""
    folder = located.folder
    own = folder is not None and any(
        (folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")
    )
    hub: dict[str, Any] = {"trust_remote_code": True} if located.metadata.trust_remote_code else {}
    if not own and located.revision:
        hub["revision"] = located.revision
    return (str(folder) if own else located.base.source), hub


def require_adapter_files(folder: Path) -> None:
    """Check that the adapter's files exist and are intact, before its base model is loaded.

    Raises:
        UsageError: naming the file.
    """
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        other = folder / "adapter_model.bin"
        why = f"{other.name} is a pickle, which is not loaded: it could run any code" if other.exists() else None
        raise UsageError("the adapter's weights are missing", where=str(weights), why=why, hint="copy the folder again")
    require_valid_safetensors(weights)


def _require_model_files(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError("the model's weights are missing", where=str(folder), why="it has no *.safetensors files")
    for file in files:
        require_valid_safetensors(file)


def require_valid_safetensors(file: Path) -> None:
    """Compare the header of a safetensors file with the length of the file: a truncated or overwritten file shows.

    Raises:
        UsageError: the file is damaged or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):  # numpy's tensors: torch is not imported, and no weights are read
            pass
    except SafetensorError as error:
        raise UsageError(
            "the weights are damaged", where=str(file), why=str(error), hint="copy the folder again"
        ) from None
    except OSError as error:
        raise UsageError("the weights cannot be read", where=str(file), why=error.strerror or str(error)) from None
