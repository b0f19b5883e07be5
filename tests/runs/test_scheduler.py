"""Whose turn it is."""

from collections.abc import Mapping

import pytest

from mg_tui.runs.scheduler import Allocation, QueueRequest, allocate_devices, with_cpu

FREE_DEVICES = {"0": None, "1": None}


def assign_devices(queue: list[QueueRequest], here: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    return {wish.run_id: allocate_devices(wish.run_id, queue, here).devices for wish in queue}


def test_in_order_on_one_device() -> None:
    queue = [QueueRequest("a", ("any",)), QueueRequest("b", ("any",))]
    assert assign_devices(queue, {"cpu": None}) == {"a": ("cpu",), "b": ()}
    assert allocate_devices("b", queue, {"cpu": None}).why == "the CPU: waiting for run a"


def test_side_by_side_on_two() -> None:
    assert assign_devices(
        [QueueRequest("a", ("any",)), QueueRequest("b", ("any",)), QueueRequest("c", ("any",))], FREE_DEVICES
    ) == {
        "a": ("0",),
        "b": ("1",),
        "c": (),
    }
    assert assign_devices([QueueRequest("a", ("1",)), QueueRequest("b", ("any",))], FREE_DEVICES) == {
        "a": ("1",),
        "b": ("0",),
    }


def test_who_needs_two_is_not_overtaken() -> None:
    queue = [QueueRequest("a", ("0", "1")), QueueRequest("b", ("1",)), QueueRequest("c", ("any",))]
    here = {"0": "another run has it", "1": None, "2": None}
    assert assign_devices(queue, here) == {"a": (), "b": (), "c": ("2",)}
    assert allocate_devices("a", queue, here).why == "GPU 0: another run has it"
    assert allocate_devices("b", queue, here).why == "GPU 1: waiting for run a"
    assert assign_devices(queue, {"0": None, "1": None})["a"] == ("0", "1")


def test_held_and_waiterless_runs_are_passed_by() -> None:
    queue = [QueueRequest("a", ("any",), ready=False), QueueRequest("b", ("any",))]
    assert assign_devices(queue, {"cpu": None}) == {"a": (), "b": ("cpu",)}
    assert "release" in allocate_devices("a", queue, {"cpu": None}).why


def test_somebody_elses_process_is_named() -> None:
    here = {"0": "used by python3 (process 12, 9.5 GiB)", "1": "another run has it"}
    assert allocate_devices("a", [QueueRequest("a", ("any",))], here).why == (
        "GPU 0: used by python3 (process 12, 9.5 GiB); GPU 1: another run has it"
    )


def test_a_device_that_went_away() -> None:
    assert allocate_devices("a", [QueueRequest("a", ("3",))], FREE_DEVICES).why == "GPU 3 not available"


def test_gone_from_the_queue() -> None:
    assert allocate_devices("z", [QueueRequest("a", ("any",))], FREE_DEVICES) == Allocation(why="no longer queued")


@pytest.mark.parametrize(("gpus", "there"), [(("cpu",), True), (("any",), False)])
def test_the_cpu_beside_gpus_is_for_who_asks(gpus: tuple[str, ...], there: bool) -> None:
    assert ("cpu" in with_cpu(FREE_DEVICES, [QueueRequest("a", gpus)], None)) is there
