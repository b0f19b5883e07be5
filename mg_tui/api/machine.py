"""`/devices`, `/estimate`, `/plugins`, `/settings` and `/health`: the machine and this installation."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import Response

from mg_tui import __version__
from mg_tui.api import docs
from mg_tui.api.access import NATIVE
from mg_tui.api.garden import CallerOf, GardenOf
from mg_tui.api.job_creation import NO_DATASET, read_order
from mg_tui.api.resources import json_answer, list_body
from mg_tui.core.settings import SETTINGS
from mg_tui.runs.devices import DeviceLocks, find_devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState

router = APIRouter(prefix=NATIVE, tags=["machine"])


@router.get(
    "/health", summary="Whether the garden can be read, and what is at work", responses=docs.answers("health", 401)
)
def health(garden: GardenOf) -> Response:
    states = [run.state for run in garden.list(RunFolder)]
    return json_answer(
        {
            "status": "ok",
            "version": __version__,
            "runs": len(states),
            "running": states.count(RunState.RUNNING),
            "queued": states.count(RunState.QUEUED),
        }
    )


@router.get("/devices", summary="Devices, and who uses them", responses=docs.answers("device_list", 401))
def devices(garden: GardenOf) -> Response:
    locks = DeviceLocks(garden.home)
    listed = [
        {
            "object": "device",
            "name": device.name,
            "title": device.title,
            "used_by": garden.paths.redact(device.used_by) if device.used_by else None,
            "free": device.used_by is None and locks.is_free(device.name),
        }
        for device in find_devices()
    ]
    return json_answer(list_body(listed, has_more=False))


@router.get(
    "/devices/sample",
    summary="Load, memory and processes of every device, and of the host",
    responses=docs.answers("device_sample", 401),
)
def device_sample(garden: GardenOf) -> Response:
    return json_answer({"object": "device.sample", **asdict(garden.devices.sample())})


@router.post(
    "/estimate",
    summary="A run's memory by component, and where it fits",
    responses=docs.answers("estimate", 401, 403, 422),
    openapi_extra=docs.estimate_body(),
)
def estimate(garden: GardenOf, caller: CallerOf, body: Annotated[dict[str, Any], Body()]) -> Response:
    from mg_tui.hardware.memory.candidates import find_candidates, fit_on, settle_for
    from mg_tui.preflight import memory
    from mg_tui.preflight.estimate_record import estimate_record

    has_dataset = any(name in body for name in ("dataset", "dataset_path"))
    spec = read_order(garden, caller, body if has_dataset else {**body, "dataset": NO_DATASET}).spec
    dataset = None
    if has_dataset:
        dataset = memory.load_dataset_headers(spec, garden.settings, cwd=garden.cwd, policy=garden.paths.policy)
    advisor = memory.make_advisor(
        spec,
        garden.settings,
        cwd=garden.cwd,
        dataset=dataset,
        read_dataset=False,
        device="cpu" if spec.device == "cpu" else "cuda",
    )
    candidates, why_no_gpu = find_candidates(spec)
    count = memory.process_count(spec)
    fits = [fit_on(advisor, device, count=count, parallel=spec.parallel) for device in candidates]
    return json_answer(
        estimate_record(settle_for(advisor, candidates, count=count, parallel=spec.parallel), fits, why_no_gpu)
    )


@router.get("/plugins", summary="Model families and metrics", responses=docs.answers("plugin_list", 401))
def plugins(garden: GardenOf) -> Response:
    from mg_tui.families.registry import reload_registry
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.preflight.plugin_records import metric_plugin_record, plugin_record

    registry = reload_registry()
    records = [plugin_record(plugin, registry) for plugin in registry.plugins]
    records += [metric_plugin_record(plugin) for plugin in load_metrics().plugins]
    for record in records:
        record.pop("file")  # a path of this machine
        record["problem"] = garden.paths.redact(record["problem"]) if record["problem"] else None
    return json_answer(list_body(records, has_more=False))


@router.get("/settings", summary="Settings and where each is from", responses=docs.answers("setting_list", 401))
def settings(garden: GardenOf) -> Response:
    listed = [
        {
            "object": "setting",
            "id": setting.id,
            "title": setting.title,
            "value": garden.settings.value(setting),
            "default": setting.default,
            "origin": garden.paths.redact(garden.settings.origins.get(setting.id, "default")),
        }
        for setting in SETTINGS
    ]
    return json_answer(list_body(listed, has_more=False))
