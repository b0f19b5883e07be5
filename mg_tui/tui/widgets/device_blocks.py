"""Every GPU in full: a block each with its history, throttle reasons, MIG instances, and the processes that use it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from textual.content import Content

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.device_history import DeviceHistory
from mg_tui.tui.text_charts import sparkline
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import LinePiece, Lines, cell, fit, join_fitting, line
from mg_tui.tui.widgets.runs.device_strip import host_lines, meter_pieces

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, MigInstance

HISTORY_SIZE: Final = 240  # samples
GpuCurves = tuple[Sequence[float], Sequence[float]]  # of utilization and memory, over time
_LABEL_WIDTH: Final = 14


def gpu_lines(gpu: "Gpu", history: GpuCurves, titles: Mapping[str, str], width: int) -> list[Content]:
    """The lines of one GPU."""
    head = line(
        (f"GPU {gpu.index}  ", tone("key", "bold")),
        (one_line(gpu.name, limit=60), "bold"),
        (f"  {one_line(gpu.uuid)}" if gpu.uuid else "", tone("faint")),
    )
    if gpu.problem is not None:
        return [fit(head, width), fit(line(("✗ ", tone("failed", "bold")), one_line(gpu.problem)), width)]
    used = None if gpu.memory_used is None or not gpu.memory_total else gpu.memory_used / gpu.memory_total
    busy = None if gpu.utilization is None else gpu.utilization / 100
    memory = formatting.DASH if used is None else formatting.used_of_total(gpu.memory_used or 0, gpu.memory_total or 1)
    text = f"{formatting.DASH if busy is None else f'{gpu.utilization:.0f}'}%"
    lines = [
        fit(head, width),
        _history_line("busy", busy, text, history[0], width, plain=True),
        _history_line("memory", used, memory, history[1], width),
        _labelled("", join_fitting(_gpu_readings(gpu), width - _LABEL_WIDTH)),
    ]
    if gpu.throttle_reasons:
        why = line(("⚠ throttled: ", tone("eval", "bold")), ", ".join(gpu.throttle_reasons))
        lines.append(_labelled("slowed", fit(why, width - _LABEL_WIDTH)))
    if gpu.ecc_errors:
        errors = formatting.count(gpu.ecc_errors, "memory error")
        why = line((f"✗ {errors} uncorrected", tone("failed", "bold")), "; results may be wrong")
        lines.append(_labelled("ECC", fit(why, width - _LABEL_WIDTH)))
    for part in gpu.mig:
        lines += _mig_lines(part, titles, width)
    return [*lines, *_process_lines(gpu.processes, titles, width, free=not gpu.mig)]


def _gpu_readings(gpu: "Gpu") -> list[Content]:
    power = f"{formatting.whole(gpu.power_w)}" + (f"/{gpu.power_limit_w:.0f}" if gpu.power_limit_w else "")
    clock = f"{formatting.whole(gpu.clock_mhz)}" + (f"/{gpu.clock_max_mhz}" if gpu.clock_max_mhz else "")
    errors = "" if gpu.ecc_errors is None else f"{gpu.ecc_errors}"
    facts = (
        ("power", f"{power} W"),
        ("", f"{formatting.whole(gpu.temperature_c)} °C"),
        ("clock", f"{clock} MHz"),
        ("ECC errors", errors),
        ("MIG", formatting.count(len(gpu.mig), "instance") if gpu.mig else ""),
    )
    return [line((f"{label} " if label else "", tone("dim")), text) for label, text in facts if text]


def _mig_lines(part: "MigInstance", titles: Mapping[str, str], width: int) -> list[Content]:
    total = part.memory_total or 0
    used = part.memory_used / total if total and part.memory_used is not None else None
    memory = formatting.DASH if used is None else formatting.used_of_total(part.memory_used or 0, total)
    about = line(
        (f"MIG {part.index} ", tone("key")), one_line(part.name, limit=40), "  ", *meter_pieces(used, 10), f" {memory}"
    )
    return [_labelled("", fit(about, width - _LABEL_WIDTH)), *_process_lines(part.processes, titles, width, free=True)]


def _process_lines(
    processes: "Sequence[GpuProcess]", titles: Mapping[str, str], width: int, *, free: bool
) -> list[Content]:
    """The processes that hold memory, the largest first; our runs by their titles."""
    if not processes:
        return [_labelled("", Content.styled("no processes", tone("dim")))] if free else []
    lines = []
    for process in sorted(processes, key=lambda item: -(item.memory or 0)):
        ours = process.run_id is not None
        who = titles.get(process.run_id or "", process.run_id or "") or process.name or "process in another container"
        pieces: list[LinePiece] = [
            ("▶ " if ours else "  ", tone("running", "bold")),
            cell(Content.styled(one_line(who), tone("running") if ours else ""), max(min(width - 56, 40), 12)),
            cell(Content(formatting.size(process.memory)), 10, right=True),
            (f"  process {process.pid}" + ("  a run here" if ours else ""), tone("dim")),
        ]
        lines.append(_labelled("", fit(line(*pieces), width - _LABEL_WIDTH)))
    return lines


def _history_line(
    label: str, share: float | None, text: str, history: Sequence[float], width: int, *, plain: bool = False
) -> Content:
    room = max(width - _LABEL_WIDTH - 34, 0)
    return _labelled(
        label,
        line(
            *meter_pieces(share, 14, plain=plain),
            " ",
            cell(Content(text), 16),
            (sparkline(history, room), tone("spark")),
        ),
    )


def _labelled(label: str, content: Content) -> Content:
    return line((f"  {label:<{_LABEL_WIDTH - 2}}", tone("dim")), content)


def gpu_curves(history: DeviceHistory, index: int) -> GpuCurves:
    """The newest samples of one GPU."""
    busy, memory = (history.curve(f"GPU {index}", metric)[1][-HISTORY_SIZE:] for metric in (0, 1))
    return busy, memory


class DeviceBlocks(Lines):
    """All devices, and the host."""

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: DeviceSnapshot | None = None
        self._titles: Mapping[str, str] = {}
        self._history = DeviceHistory()

    def show_snapshot(self, snapshot: "DeviceSnapshot", titles: Mapping[str, str], history: DeviceHistory) -> None:
        """Show another sample; `titles`: the titles of runs by id, `history`: the samples before it."""
        self._snapshot, self._titles, self._history = snapshot, titles, history
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self._snapshot is None:
            return [Content.styled("looking for devices …", tone("dim"))]
        lines: list[Content] = []
        for gpu in self._snapshot.gpus:
            curves = gpu_curves(self._history, gpu.index)
            lines += [*gpu_lines(gpu, curves, self._titles, width), Content()]
        return [*lines, *host_lines(self._snapshot.host, self._snapshot.why_no_gpu, width, wrap=True)]
