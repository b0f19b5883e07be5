"""The strip of devices: a line for each GPU with its load and memory owners; without a GPU, the host and the reason."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, line

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host


def device_lines(snapshot: "DeviceSnapshot", width: int, limit: int, titles: Mapping[str, str]) -> list[Content]:
    """At most `limit` lines of `width` cells. `titles`: the titles of runs by id, for the owners of memory."""
    if not snapshot.gpus:
        return host_lines(snapshot.host, snapshot.why_no_gpu, width)[:limit]
    lines = [_gpu_line(gpu, width, titles) for gpu in snapshot.gpus]
    if len(lines) > limit:
        hidden = len(lines) - limit + 1
        lines = [*lines[: limit - 1], Content.styled(f"  and {formatting.count(hidden, 'more GPU')}", tone("dim"))]
    if snapshot.why_no_gpu and len(lines) < limit:
        lines.append(fit(Content.styled(one_line(snapshot.why_no_gpu), tone("failed")), width))
    return lines


def _gpu_line(gpu: "Gpu", width: int, titles: Mapping[str, str]) -> Content:
    wide = width >= 110
    name = one_line(gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce "), limit=40)
    if not wide:
        name = name.split(" ")[0] if len(name) > 9 else name
    pieces: list[Content | str | tuple[str, str]] = [
        (f"{gpu.index} ", tone("key", "bold")),
        cell(Content(name), 22 if wide else 9),
        " ",
        *meter_pieces(None if gpu.utilization is None else gpu.utilization / 100, 10 if wide else 5, plain=True),
        f" {formatting.whole(gpu.utilization):>3}%  ",
    ]
    if gpu.problem is not None:
        return fit(line(*pieces[:3], (one_line(gpu.problem), tone("failed"))), width)
    if gpu.memory_total:
        used = gpu.memory_used or 0
        pieces += [
            *meter_pieces(used / gpu.memory_total, 10 if wide else 6),
            f" {formatting.used_of_total(used, gpu.memory_total)}  ",
        ]
    pieces += [(f"{formatting.whole(gpu.power_w)} W  {formatting.whole(gpu.temperature_c)}°C  ", tone("dim"))]
    if gpu.ecc_errors:
        pieces += [(f"✗ {formatting.count(gpu.ecc_errors, 'ECC error')}  ", tone("failed", "bold"))]
    if slowed := [reason for reason in gpu.throttle_reasons if reason != "power cap"]:  # a busy GPU is at its power cap
        pieces += [(f"⚠ {slowed[0] if wide else 'slowed'}  ", tone("eval", "bold"))]
    head = line(*pieces)
    processes = (*gpu.processes, *(process for part in gpu.mig for process in part.processes))
    return fit(line(head, _memory_owners(processes, titles, width - head.cell_length)), width)


def _memory_owners(processes: "tuple[GpuProcess, ...]", titles: Mapping[str, str], width: int) -> Content:
    """The processes that hold memory, the largest first; our runs by their titles."""
    if not processes:
        return Content.styled("free", tone("dim"))
    parts, names = [], []
    for process in sorted(processes, key=lambda item: -(item.memory or 0)):
        ours = process.run_id is not None
        who = titles.get(process.run_id or "", process.run_id or "") or f"{process.name or 'process'} {process.pid}"
        memory = "" if process.memory is None else f" {formatting.size(process.memory)}"
        names.append(line((one_line(who, limit=30), tone("running") if ours else tone("eval"))))
        parts.append(line(names[-1], (memory, tone("dim"))))
    for candidates in (parts, names):
        joined = Content(", ").join(candidates)
        if joined.cell_length <= width:
            return joined
    return names[0] if len(names) == 1 else line(names[0], (f" +{len(names) - 1}", tone("dim")))


def host_lines(host: "Host | None", why: str | None, width: int, *, wrap: bool = False) -> list[Content]:
    """CPU and memory of the machine, and why it has no GPU: on one line, unless `wrap`."""
    lines = []
    if host is not None:
        bars = 12 if width >= 100 else 8
        name = one_line(host.cpu_name or "CPU", limit=max(width - 66, 14))
        lines.append(
            fit(
                line(
                    ("CPU ", tone("key", "bold")),
                    *meter_pieces((host.cpu_percent or 0) / 100, bars, plain=True),
                    f" {formatting.whole(host.cpu_percent):>3}%  ",
                    (f"{name} · {formatting.count(host.cores or 0, 'core')}   ", tone("dim")),
                    ("RAM ", tone("key", "bold")),
                    *meter_pieces(host.ram_used / host.ram_total if host.ram_total else None, bars),
                    f" {formatting.used_of_total(host.ram_used, host.ram_total)}",
                ),
                width,
            )
        )
    if why:
        text = Content.styled(f"No GPU: {one_line(why)}", tone("dim"))
        lines += text.wrap(max(width, 8)) if wrap else [fit(text, width)]
    return lines


def meter_pieces(share: float | None, width: int, *, plain: bool = False) -> list[tuple[str, str]]:
    """A meter as pieces of a line; its tone warns when it is nearly full, unless `plain`: a busy GPU is good."""
    filled, rest = meter(share, width)
    full = share or 0.0
    name = "meter" if plain or full < 0.8 else "meter-high" if full < 0.95 else "meter-full"
    return [(filled, tone(name)), (rest, tone("track"))]


class DeviceStrip(Lines):
    """The newest snapshot of the devices."""

    DEFAULT_CSS = """
    DeviceStrip { background: $surface; padding: 0 1; }
    DeviceStrip.-lost { background: $band; }
    """
    snapshot: reactive["DeviceSnapshot | None"] = reactive(None, repaint=False)
    titles: reactive[Mapping[str, str]] = reactive(dict, repaint=False)
    gpus_lost: reactive[bool] = reactive(False, repaint=False)  # the driver stopped reporting its GPUs

    def watch_snapshot(self, before: "DeviceSnapshot | None", now: "DeviceSnapshot | None") -> None:
        if now is not None:
            self.gpus_lost = not now.gpus and (self.gpus_lost or bool(before and before.gpus))
        self.set_class(self.gpus_lost, "-lost")
        self.redraw()

    def watch_titles(self) -> None:
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.snapshot is None:
            waits = "looking for devices" if getattr(self.app, "elsewhere", None) is None else "devices of the server"
            return [Content.styled(f"{waits} …", tone("dim"))]
        if self.gpus_lost:
            why = one_line(self.snapshot.why_no_gpu or "no reason given by the driver")
            text = line(("✗ GPUs no longer visible", tone("failed", "bold")), f": {why}")
            return [fit(text, width), Content.styled("Runs continue; the dashboard keeps checking.", tone("dim"))]
        height = self.app.size.height
        limit = 8 if height >= 36 else 4 if height >= 28 else 2
        return device_lines(self.snapshot, width, limit, self.titles)
