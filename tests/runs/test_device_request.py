"""Which GPUs a run sees: one for each of its processes, and one without a request."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.rank_supervisor import RankPlan, plan_ranks, rank_environment
from mg_tui.runs import device_request, devices
from mg_tui.runs.devices import Device, DeviceLocks
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder

Make = Callable[..., RunFolder]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the folder of a run."""

    def run(**options: Any) -> RunFolder:
        spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", **options})
        return RunFolder.create(tmp_path, spec, versions={})

    return run


@pytest.fixture(autouse=True)
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs, the first of which another program uses."""
    found = [Device("0", "python3 (process 5)"), Device("1"), Device("2")]
    monkeypatch.setattr(devices, "find_devices", lambda *_: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def visible(environ: dict[str, str]) -> str | None:
    return environ.get("CUDA_VISIBLE_DEVICES")


def seen_by_each(folder: RunFolder, environ: dict[str, str]) -> list[str | None]:
    """What each process of the run sees."""
    plan = plan_ranks(folder, environ)
    if plan.size == 1:
        return [visible(environ)]
    return [visible(rank_environment(environ, plan, local)) for local in range(plan.here)]


def test_without_a_request_one_process_sees_one_gpu(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would wrap a model in DataParallel wherever it sees several."""
    assert visible(device_request.worker_environment(make(), None)) == "0"
    for given, seen in (("2,1", "2"), ("GPU-ab12,GPU-cd34", "GPU-ab12"), ("MIG-7", "MIG-7")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        environ = device_request.worker_environment(make(), None)
        assert visible(environ) == seen
        assert "CUDA_DEVICE_ORDER" not in environ, "the numbers are those of whoever set the variable"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible(device_request.worker_environment(make(), None)) is None
    assert "CUDA_VISIBLE_DEVICES" not in device_request.worker_environment(make(device="cpu"), None)


@pytest.mark.parametrize(
    ("options", "gpus", "seen"),
    [
        ({}, ("1", "2"), ["1", "2"]),
        ({}, ("all",), ["0", "1", "2"]),
        ({}, ("any",), ["1"]),
        ({}, ("2",), ["2"]),
        ({"processes": 2}, ("any",), ["1", "2"]),
        ({"processes": 2}, None, ["1", "2"]),
        ({"processes": 3}, ("all",), ["0", "1", "2"]),
        ({"processes": 2, "device": "cpu"}, None, [None, None]),
        ({"processes": 2}, ("cpu",), ["", ""]),
    ],
)
def test_one_process_a_gpu(
    make: Make, options: dict[str, Any], gpus: tuple[str, ...] | None, seen: list[str | None]
) -> None:
    folder = make(**options)
    environ = device_request.worker_environment(folder, gpus)
    assert seen_by_each(folder, environ) == seen


@pytest.mark.parametrize(("processes", "gpus"), [(2, ("1",)), (1, ("1", "2")), (2, ("all",))])
def test_processes_and_gpus_have_to_fit(make: Make, processes: int, gpus: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="one process uses one GPU"):
        device_request.worker_environment(make(processes=processes), gpus)


def test_too_few_free_gpus_are_named_with_their_users(make: Make) -> None:
    with pytest.raises(EnvironmentProblem, match="3 processes need as many free GPUs") as caught:
        device_request.worker_environment(make(processes=3), None)
    assert caught.value.why == "GPU 0: python3 (process 5)"
    folder = make(processes=2)
    other = DeviceLocks(folder.home)
    assert other.take(["1"])
    with pytest.raises(EnvironmentProblem, match="2 processes need"):
        device_request.worker_environment(folder, None)
    other.release()
    with pytest.raises(EnvironmentProblem, match="GPU 7 not found"):
        device_request.worker_environment(folder, ("1", "7"))


def test_no_gpu_is_not_all_of_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_devices", lambda *_: [Device("cpu")])
    with pytest.raises(EnvironmentProblem, match="No GPU found"):
        device_request.worker_environment(make(), ("all",))
    folder = make(processes=2)
    assert seen_by_each(folder, device_request.worker_environment(folder, None)) == [None, None]


def test_a_resume_may_change_the_number_of_processes(make: Make) -> None:
    folder = make(processes=2)
    device_request.worker_environment(folder, None)
    device_request.write_process_count(folder, 1)
    record = json.loads((folder.path / "devices.json").read_bytes())
    assert record["used"] == ["1", "2"] and record["processes"] == 1
    environ = device_request.worker_environment(folder, None)
    assert seen_by_each(folder, environ) == ["1"]
    assert device_request.read_process_count(folder) == 1


def test_an_evaluation_is_no_training_run(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path / "evaluations" / "one")
    folder.path.mkdir(parents=True)
    assert visible(device_request.worker_environment(folder, ("1", "2"))) == "1,2"


def test_machines_have_their_own_processes(make: Make) -> None:
    folder = make(nodes=2, node_rank=1, rendezvous="10.0.0.1:29500")
    environ = device_request.worker_environment(folder, ("1", "2"))
    plan = plan_ranks(folder, environ)
    assert plan == RankPlan(here=2, machine=1, machines=2)
    assert [plan.world(local).rank for local in range(2)] == [2, 3]
    assert "GLOO_SOCKET_IFNAME" not in rank_environment(environ, plan, 0)
    assert rank_environment(environ, RankPlan(2), 0)["GLOO_SOCKET_IFNAME"] == "lo"


def test_other_launchers_are_not_heard(make: Make) -> None:
    environ = {**os.environ, "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "PMI_SIZE": "8"}
    own = rank_environment(environ, RankPlan(2), 1)
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE"} & own.keys()
    assert (own["MODEL_GARDEN_RANK"], own["MODEL_GARDEN_WORLD_SIZE"]) == ("1", "2")
