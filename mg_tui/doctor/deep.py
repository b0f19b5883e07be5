"""The deep checks: an engine program does in small what runs do, one thing after the other, each time-limited."""

import threading
from collections.abc import Callable, Iterator
from typing import Final

from mg_tui.core.errors import RunFailed
from mg_tui.core.text import one_line
from mg_tui.doctor.findings import LEVELS, Level, MachineFinding
from mg_tui.runs.engine_process import EngineCrashed, EngineProcess

PROGRAM: Final = "mg_tui.engine.run.selftest"
_SECONDS: Final = 300.0  # for one check; the first one imports torch, and compiling takes a while
CHECKS: Final = {
    "device": "torch on the device",
    "flex": "flex attention",
    "flash": "flash-attn",
    "nf4": "nf4",
    "int8": "int8",
    "unsloth": "unsloth",
    "nccl": "NCCL between GPUs",
}


def examine_deeply(
    *, program: str = PROGRAM, seconds: float = _SECONDS, announce: Callable[[str], None] = lambda _subject: None
) -> Iterator[MachineFinding]:
    """The findings, each as soon as it is there. A check that ends the program does not keep the others from running.

    Args:
        program: the engine program.
        seconds: after which a check is ended.
        announce: called with what is checked next.
    """
    child: EngineProcess | None = None
    try:
        for name, subject in CHECKS.items():
            announce(subject)
            child = child if child is not None and child.alive else EngineProcess(program)
            finding, ended = _check(child, name, subject, seconds)
            yield finding
            if ended:
                child.close(0.5)
                child = None
    finally:
        if child is not None:
            child.close(0.5)


def _check(child: EngineProcess, name: str, subject: str, seconds: float) -> tuple[MachineFinding, bool]:
    """The finding of one check, and whether the child is no longer of use."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.terminate()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        *_notices, result = child.stream(name)
    except RunFailed as error:
        text = (
            f"no answer within {seconds:.0f} s"
            if late.is_set()
            else one_line(f"it ended the process: {error.why or error.what}", limit=300)
        )
        hint = "the same would end a run: reinstall what was tried, for this torch and CUDA"
        return MachineFinding(f"deep-{name}", subject, "problem", text, hint), True
    except EngineCrashed as error:
        return MachineFinding(f"deep-{name}", subject, "problem", _last_line(str(error)), "please report it"), True
    finally:
        timer.cancel()
    level: Level = next((known for known in LEVELS if known == result.get("level")), "problem")
    said, advice = one_line(str(result.get("text", "")), limit=400), result.get("hint")
    return MachineFinding(
        f"deep-{name}", subject, level, said, None if advice is None else one_line(str(advice))
    ), False


def _last_line(text: str) -> str:
    return one_line((text.strip().splitlines() or ["no reason given"])[-1], limit=300)
