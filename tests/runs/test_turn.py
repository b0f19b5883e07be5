"""Whose turn it is."""

import pytest

from mg_tui.runs.turn import Turn, Wish, turn, with_cpu

FREE = {"0": None, "1": None}


def got(queue: list[Wish], here: dict[str, str | None]) -> dict[str, tuple[str, ...]]:
    return {wish.run_id: turn(wish.run_id, queue, here).devices for wish in queue}


def test_in_order_on_one_device() -> None:
    queue = [Wish("a", ("any",)), Wish("b", ("any",))]
    assert got(queue, {"cpu": None}) == {"a": ("cpu",), "b": ()}
    assert turn("b", queue, {"cpu": None}).why == "the CPU: run a is before it"


def test_side_by_side_on_two() -> None:
    assert got([Wish("a", ("any",)), Wish("b", ("any",)), Wish("c", ("any",))], FREE) == {
        "a": ("0",),
        "b": ("1",),
        "c": (),
    }
    assert got([Wish("a", ("1",)), Wish("b", ("any",))], FREE) == {"a": ("1",), "b": ("0",)}


def test_who_needs_two_is_not_overtaken() -> None:
    queue = [Wish("a", ("0", "1")), Wish("b", ("1",)), Wish("c", ("any",))]
    here = {"0": "another run has it", "1": None, "2": None}
    assert got(queue, here) == {"a": (), "b": (), "c": ("2",)}
    assert turn("a", queue, here).why == "GPU 0: another run has it"
    assert turn("b", queue, here).why == "GPU 1: run a is before it"
    assert got(queue, {"0": None, "1": None})["a"] == ("0", "1")


def test_held_and_waiterless_runs_are_passed_by() -> None:
    queue = [Wish("a", ("any",), ready=False), Wish("b", ("any",))]
    assert got(queue, {"cpu": None}) == {"a": (), "b": ("cpu",)}
    assert "release" in turn("a", queue, {"cpu": None}).why


def test_somebody_elses_process_is_named() -> None:
    here = {"0": "used by python3 (process 12, 9.5 GiB)", "1": "another run has it"}
    assert turn("a", [Wish("a", ("any",))], here).why == (
        "GPU 0: used by python3 (process 12, 9.5 GiB); GPU 1: another run has it"
    )


def test_a_device_that_went_away() -> None:
    assert turn("a", [Wish("a", ("3",))], FREE).why == "there is no GPU 3 now"


def test_gone_from_the_queue() -> None:
    assert turn("z", [Wish("a", ("any",))], FREE) == Turn(why="it is in the queue no longer")


@pytest.mark.parametrize(("gpus", "there"), [(("cpu",), True), (("any",), False)])
def test_the_cpu_beside_gpus_is_for_who_asks(gpus: tuple[str, ...], there: bool) -> None:
    assert ("cpu" in with_cpu(FREE, [Wish("a", gpus)], None)) is there
