"""Which device is whose."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.hardware.types import Gpu, GpuProcess
from mg_tui.runs import devices
from mg_tui.runs.devices import Device, DeviceLocks


class FakeDriver:
    """A driver that has these GPUs."""

    def __init__(self, *gpus: Gpu):
        self._gpus = gpus

    def sample(self) -> tuple[tuple[Gpu, ...], str | None]:
        return self._gpus, None if self._gpus else "no driver"


@pytest.mark.parametrize(
    ("asked", "means"), [(None, ("any",)), ("any", ("any",)), ("cpu", ("cpu",)), ("1", ("1",)), ("0, 1,1", ("0", "1"))]
)
def test_what_gpus_means(asked: str | None, means: tuple[str, ...]) -> None:
    assert devices.parse_devices(asked) == means


@pytest.mark.parametrize("asked", ["", "x", "0,", "-1", "any,1"])
def test_what_it_cannot_mean(asked: str) -> None:
    with pytest.raises(UsageError, match="gpus: got"):
        devices.parse_devices(asked)


def test_without_a_gpu_the_cpu_is_the_one_device() -> None:
    assert devices.find_devices(FakeDriver()) == [Device("cpu")]
    assert devices.default_devices([Device("cpu")], {}) == ("cpu",)
    with pytest.raises(EnvironmentProblem, match="GPU 0 not found") as caught:
        devices.require_devices(("0",), [Device("cpu")])
    assert caught.value.exit_code == 3


def test_somebody_elses_process_is_seen_and_a_desktop_is_not() -> None:
    gib = 1 << 30
    found = devices.find_devices(
        FakeDriver(
            Gpu(0, "A", memory_used=gib // 2),
            Gpu(1, "A", processes=(GpuProcess(os.getpid(), 9 * gib, "python3", None),)),
            Gpu(2, "A", processes=(GpuProcess(5, gib // 8, "Xorg", None),)),
            Gpu(3, "A", memory_used=30 * gib),
            Gpu(4, "A", problem="it does not answer: lost"),
        )
    )
    said = [device.used_by for device in found]
    assert said == [
        None,
        f"python3 (process {os.getpid()}, 9.0 GiB)",
        None,
        "a process not visible here (30.0 GiB)",
        "it does not answer: lost",
    ]


def test_the_usual_devices() -> None:
    here = [Device("0"), Device("1")]
    assert devices.default_devices(here, {}) == ("0",)
    assert devices.default_devices(here, {"CUDA_VISIBLE_DEVICES": "1"}) == ("1",)
    assert devices.default_devices(here, {"CUDA_VISIBLE_DEVICES": ""}) == ("cpu",)
    assert devices.device_environment(("0", "1"))["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_all_or_none(tmp_path: Path) -> None:
    first, second = DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    assert first.take(["1"])
    assert not second.take(["0", "1"])
    assert first.is_free("0"), "nothing is kept of an attempt that failed"
    assert not first.is_free("1")
    first.release()
    assert second.take(["0", "1"])
    second.release()


def test_started_directly_they_share_and_the_queue_waits(tmp_path: Path) -> None:
    one, other, queued = DeviceLocks(tmp_path), DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    assert one.take(["cpu"], shared=True) and other.take(["cpu"], shared=True)
    assert not queued.take(["cpu"])
    one.release()
    other.release()
    assert queued.take(["cpu"])
    queued.release()


def test_a_worker_holds_what_it_was_handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    giver = DeviceLocks(tmp_path)
    assert giver.take(["0"])
    for name, value in giver.hand_over().items():
        monkeypatch.setenv(name, value)
    taker = DeviceLocks(tmp_path)
    assert taker.adopt() is None
    assert not taker.is_free("0")
    taker.release()
    assert taker.is_free("0")
    giver._fds.clear()


def test_a_worker_that_shares_with_a_queued_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = DeviceLocks(tmp_path)
    assert queued.take(["1"])
    monkeypatch.setenv(devices.SHARED_DEVICES_ENV, "1")
    assert "GPU 1" in str(DeviceLocks(tmp_path).adopt())
    queued.release()


def test_a_forked_child_does_not_keep_them(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path)
    assert locks.take(["0"])
    go_on = multiprocessing.get_context("fork").Event()
    child = multiprocessing.get_context("fork").Process(target=go_on.wait, args=(20,))
    child.start()
    locks.release()
    deadline = time.monotonic() + 10
    while not locks.is_free("0"):  # until the child has come to its first line
        assert time.monotonic() < deadline
    assert child.is_alive()
    go_on.set()
    child.join()
