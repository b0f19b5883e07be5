"""GPUs that are to train together: there, free, and of one kind."""

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.hardware.types import Gpu, GpuProcess
from mg_tui.preflight.gpu_group import look_at_gpus

GIB = 2**30


class Machine:
    """A machine with these GPUs."""

    def __init__(self, *gpus: Gpu):
        self.gpus = gpus

    def sample(self) -> tuple[tuple[Gpu, ...], str | None]:
        return self.gpus, None


def gpu(index: int, name: str = "H100", total: int = 80, used: int = 0, **more: object) -> Gpu:
    return Gpu(index, name, memory_used=used * GIB, memory_total=total * GIB, **more)  # type: ignore[arg-type]


def test_equal_free_gpus_need_no_word() -> None:
    group = look_at_gpus(("0", "1"), Machine(gpu(0), gpu(1, used=1), gpu(2, "A100")))
    assert (group.names, group.free, group.findings) == (("0", "1"), 79 * GIB, ())


def test_one_in_use_is_named_with_who_uses_it() -> None:
    busy = gpu(1, used=20, processes=(GpuProcess(77, 20 * GIB, "python", None),))
    group = look_at_gpus(("0", "1"), Machine(gpu(0), busy))
    assert group.findings == ("GPU 1 is used by python (process 77, 20.0 GiB)",) and group.free == 60 * GIB


def test_different_kinds_are_said_and_the_smaller_decides() -> None:
    group = look_at_gpus(("all",), Machine(gpu(0), gpu(1, "A100", 40), gpu(2)))
    (finding,) = group.findings
    assert "GPU 0 and 2: H100, 80.0 GiB" in finding and "GPU 1: A100, 40.0 GiB" in finding
    assert group.free == 40 * GIB and group.names == ("0", "1", "2")
    sizes = look_at_gpus(("0", "1"), Machine(gpu(0), gpu(1, total=94)))
    assert "80.0 GiB" in sizes.findings[0] and "94.0 GiB" in sizes.findings[0]


def test_one_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EnvironmentProblem, match="GPU 4 not found"):
        look_at_gpus(("0", "4"), Machine(gpu(0)))
    with pytest.raises(EnvironmentProblem, match="No GPU found"):
        look_at_gpus(("all",), Machine())


def test_one_that_does_not_say_its_memory_leaves_it_open() -> None:
    assert look_at_gpus(("0", "1"), Machine(gpu(0), Gpu(1, "H100"))).free is None
    for request in (None, ("any",), ("cpu",)):
        assert look_at_gpus(request, Machine(gpu(0))).names == ()
