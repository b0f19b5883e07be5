"""Creating training jobs: the same check, folder and start as on the command line, once per idempotency key."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.api.errors import ApiError, spec_problem
from mg_tui.api.garden import Garden, requester
from mg_tui.api.paths import OUTSIDE, PathForbidden
from mg_tui.core.errors import RunFailed, SpecError
from mg_tui.core.options import options_of
from mg_tui.core.presets import find_preset
from mg_tui.core.request_body import read_spec_body
from mg_tui.core.spec import TrainingSpec
from mg_tui.gate import Caller
from mg_tui.gate.tokens import includes
from mg_tui.runs import devices, launch, operations
from mg_tui.runs.device_request import check_process_count
from mg_tui.runs.folder import RunFolder, new_run_id
from mg_tui.runs.queue import restart_waiters
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run

if TYPE_CHECKING:
    from mg_tui.preflight.checks import PreflightResult

LAUNCH_FIELDS: Final = ("gpus", "queue", "preset")
NO_DATASET: Final = "(none)"  # of an estimate


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job that was asked for.

    Attributes:
        spec: its options.
        pointers: where they are in the body, as JSON pointers.
        gpus: the devices; None for any.
        in_queue: whether it waits in the queue.
        cwd: the folder that relative paths start from.
    """

    spec: TrainingSpec
    pointers: Mapping[str, str]
    gpus: tuple[str, ...] | None
    in_queue: bool
    cwd: Path


def read_order(garden: Garden, caller: Caller, body: Mapping[str, Any]) -> JobOrder:
    """What a body asks for, over the [train] table of garden.toml; nothing is looked at yet.

    Raises:
        ApiError: a value is invalid (422), or needs another scope (403).
        PathForbidden: a path is outside the roots.
    """
    launched, rest = split_launch_fields(body)
    given = read_spec_body(TrainingSpec, rest, model_type=True)
    preset = find_preset(launched["preset"], garden.settings.presets) if launched["preset"] else {}
    try:
        spec = TrainingSpec.parse({**garden.settings.train, **preset, **given.values})
    except SpecError as error:
        raise spec_problem(error, dict(given.pointers)) from error
    require_allowed(garden, caller, spec)
    return JobOrder(spec, given.pointers, launched["gpus"], launched["queue"], garden.cwd)


def split_launch_fields(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a body about the start, checked, and the others.

    Raises:
        ApiError: one has a bad value (422).
        UsageError, EnvironmentProblem: there is no such device.
    """
    gpus, in_queue, preset = (body.get(name) for name in LAUNCH_FIELDS)
    bad = [
        (
            "/gpus",
            gpus,
            "give nvidia-smi indices as text (0,1), all, any, or cpu",
            gpus is None or isinstance(gpus, str),
        ),
        ("/queue", in_queue, "give true or false", in_queue is None or isinstance(in_queue, bool)),
        ("/preset", preset, "give the name of a preset", preset is None or isinstance(preset, str)),
    ]
    errors = [
        {"pointer": at, "got": repr(value)[:200], "accepted": accepted} for at, value, accepted, ok in bad if not ok
    ]
    if errors:
        raise ApiError(422, "invalid-options", f"{errors[0]['pointer'][1:]}: {errors[0]['accepted']}", errors=errors)
    requested = None if gpus is None else devices.parse_devices(gpus)
    if requested is not None:
        devices.require_devices(requested, devices.find_devices())
    rest = {name: value for name, value in body.items() if name not in LAUNCH_FIELDS}
    return {"gpus": requested, "queue": in_queue is not False, "preset": preset}, rest


def read_gpus(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The devices that a body names in `gpus`; None for any.

    Raises:
        ApiError: it is no text (422).
        UsageError, EnvironmentProblem: there is no such device.
    """
    gpus = body.get("gpus")
    if gpus is not None and not isinstance(gpus, str):
        raise ApiError(422, "invalid-options", "gpus: give nvidia-smi indices as text (0,1), any, or cpu")
    requested = None if gpus is None else devices.parse_devices(gpus)
    if requested is not None:
        devices.require_devices(requested, devices.find_devices())
    return requested


def require_allowed(garden: Garden, caller: Caller, spec: TrainingSpec) -> None:
    """Refuse what this caller may not do with a spec: paths outside the roots, code from a checkpoint, trackers,
    messages, copies and commands.

    Raises:
        ApiError: it needs scope admin (403).
        PathForbidden: a path is outside the roots.
    """
    if spec.trust_remote_code and not includes(caller.scope, "admin"):
        raise ApiError(403, "scope-too-small", "trust_remote_code: runs code of the checkpoint; needs scope admin.")
    if spec.report_to and not (garden.own_tokens or includes(caller.scope, "admin")):
        raise ApiError(403, "scope-too-small", "report_to: sends data elsewhere; needs scope admin.")
    for name in ("notify", "sync", "when_done", "rendezvous"):  # requests to other machines, and commands on this one
        value = getattr(spec, name)
        usual = garden.settings.train.get(name) or ()
        if value and value not in (usual, (usual,), tuple(usual)) and not includes(caller.scope, "admin"):
            raise ApiError(403, "scope-too-small", f"{name}: acts outside of the run; needs scope admin.")
    from mg_tui.data.mixture import parts_of

    named = garden.settings.datasets
    datasets = [part.name for part in parts_of(spec, garden.cwd)]
    for option in options_of(type(spec)):
        value = getattr(spec, option.name)
        if option.kind == "path" and option.name != "dataset" and value is not None and value not in named:
            garden.paths.require_option(value, option.name)
    for dataset in datasets:
        if dataset not in (*named, NO_DATASET):
            garden.paths.require(dataset, "dataset")
    garden.paths.require_model(spec.base_model, [])


def create_job(garden: Garden, caller: Caller, order: JobOrder, *, key: str | None, path: str, body: Any) -> RunFolder:
    """Check an order and start or queue its run, once for each key.

    Raises:
        ApiError: see `IdempotencyKeys.claim`.
        GardenError: a check failed; no run was created.
    """
    with garden.keys.claim(
        key, caller=caller.name, path=path, body=body, new_id=lambda: new_run_id(order.spec.name)
    ) as claim:
        folder = RunFolder(garden.home / RunFolder.parent / claim.resource_id)
        if not (claim.repeated and folder.journal_file.is_file()):
            folder = _create(garden, order, claim.resource_id)
        _start(garden, caller, order, folder)
        return folder


def _create(garden: Garden, order: JobOrder, run_id: str) -> RunFolder:
    from mg_tui.preflight.checks import run_preflight

    spec, settings, cwd = order.spec, garden.settings, order.cwd
    check_process_count(spec.processes, order.gpus, devices.find_devices())
    launch.check_output_dir(spec, cwd=cwd)
    checked = run_preflight(spec, settings, cwd=cwd, policy=garden.paths.policy)
    _require_inside(checked)
    return launch.create_run(checked.resolve_spec(spec), settings, cwd=cwd, run_id=run_id, bounds=garden.bounds)


def _require_inside(checked: "PreflightResult") -> None:
    """Refuse rows whose images lie outside the roots, also where bad rows are skipped.

    Raises:
        PathForbidden: there is such a row.
    """
    for dataset in (checked.dataset, checked.evaluation):
        for problem in dataset.problems if dataset is not None else ():
            if OUTSIDE in problem.what:
                raise PathForbidden(str(problem))


def _start(garden: Garden, caller: Caller, order: JobOrder, folder: RunFolder) -> None:
    """Start a run that is new, and one that a killed server created and did not start."""
    state = summarize_run(folder).state
    if state is RunState.QUEUED:
        restart_waiters(garden.home, launch.start_waiter)
    if state is not RunState.CREATED:
        return
    try:
        operations.start_or_queue(folder, requester(caller), gpus=order.gpus, in_queue=order.in_queue)
    except RunFailed:
        if summarize_run(folder).state not in (RunState.RUNNING, RunState.QUEUED):
            raise
