"""The machine itself, and the words for when there is no GPU."""

from pathlib import Path

import pytest

from mg_tui.hardware import host as host_module
from mg_tui.hardware.sampler import DeviceSampler, run_of_process
from mg_tui.hardware.types import Gpu, GpuProcess


def test_the_host_is_plausible() -> None:
    host = DeviceSampler().sample().host
    assert 0 <= host.cpu_percent <= 100
    assert 0 < host.ram_used < host.ram_total
    assert host.cores >= 1
    assert host.cpu_name


def test_a_snapshot_is_plain_values() -> None:
    import dataclasses
    import json

    assert json.loads(json.dumps(dataclasses.asdict(DeviceSampler().sample())))["host"]["cores"] >= 1


def group(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    return tmp_path


def test_a_containers_limit(tmp_path: Path) -> None:
    root = group(tmp_path, max="1000\n", current="700\n", stat="anon 100\ninactive_file 300\n")
    assert host_module.cgroup_memory(root) == (400, 1000)


@pytest.mark.parametrize("text", ["max\n", "", "rubbish"])
def test_no_limit(tmp_path: Path, text: str) -> None:
    assert host_module.cgroup_memory(group(tmp_path, max=text, current="1", stat="")) is None
    assert host_module.cgroup_memory(tmp_path / "none") is None


def test_a_limit_below_the_machine_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_CGROUP_ROOT", group(tmp_path, max="1000", current="700", stat=""))
    host = DeviceSampler().sample().host
    assert (host.ram_used, host.ram_total) == (700, 1000)


def test_the_processors_name(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Fast   CPU @ 3 GHz\n")
    assert host_module.cpu_name(info) == "Fast CPU @ 3 GHz"
    assert host_module.cpu_name(tmp_path / "none")


def test_whose_process_it_is() -> None:
    import os

    assert run_of_process(os.getpid(), {os.getpid(): "mine"}) == "mine"
    assert run_of_process(os.getpid(), {os.getppid(): "the parent's"}) == "the parent's"
    assert run_of_process(os.getpid(), {}) is None
    assert run_of_process(2**22 + 1, {1: "x"}) is None
    assert host_module.process_name(os.getpid())
    assert host_module.process_name(2**22 + 1) is None


def test_processes_on_a_gpu_are_named_and_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    gpu = Gpu(0, "G", processes=(GpuProcess(os.getpid(), 5, None, None), GpuProcess(2**22 + 1, None, None, None)))
    sampler = DeviceSampler(lambda: {os.getpid(): "run-1"})
    sampler.sample()
    monkeypatch.setattr(sampler._nvml, "sample", lambda: ((gpu,), None))
    ours, other = sampler.sample().gpus[0].processes
    assert (ours.run_id, ours.memory) == ("run-1", 5)
    assert ours.name
    assert (other.run_id, other.name) == (None, None)
