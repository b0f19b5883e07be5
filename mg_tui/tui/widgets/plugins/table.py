"""The table of plugins with their status, and the detail of one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, get_args

from textual.content import Content

from mg_tui.core.text import one_line, printable
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line
from mg_tui.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from mg_tui.families.contract import Capability
    from mg_tui.families.family import ModelFamily
    from mg_tui.families.registry import PluginStatus
    from mg_tui.metrics.contract import Metric
    from mg_tui.metrics.registry import MetricPlugin

STATUS_MARKS: Final = {"ok": ("✓", "finished"), "broken": ("✗", "failed"), "disabled": ("–", "queued")}
_SUPPORT_MARKS: Final = {
    "Supported": ("✓", "finished"),
    "Experimental": ("?", "queued"),
    "Unsupported": ("✗", "failed"),
}


@dataclass(frozen=True, slots=True)
class PluginRow:
    """A plugin of model families or of metrics, and those of them that are in use."""

    status: "PluginStatus | MetricPlugin"
    families: "tuple[ModelFamily, ...]" = ()
    metrics: "tuple[Metric, ...]" = ()

    @property
    def brings(self) -> str:
        """What it adds; not safe to print."""
        return ", ".join(family.title for family in self.families) or ", ".join(one.name for one in self.metrics)


def status_text(status: str) -> Content:
    """A status as its glyph and its word."""
    glyph, name = STATUS_MARKS[status]
    return Content.styled(f"{glyph} {status}", tone(name))


class PluginTable(Table[PluginRow]):
    """Every installed plugin."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("status", "Status", 10),
        Column("name", "Plugin", 14, grow=2, max_width=30),
        Column("version", "Version", 11, drop_rank=2),
        Column("brings", "Brings", 14, grow=2, drop_rank=1),
    )

    def key_of(self, row: PluginRow) -> str:
        return f"{row.status.name} {row.status.module}"

    def cell_of(self, row: PluginRow, key: str, width: int) -> Content:
        match key:
            case "status":
                return status_text(row.status.status)
            case "name":
                return Content(one_line(row.status.name, limit=200))
            case "version":
                return Content.styled(one_line(row.status.version or formatting.DASH, limit=40), tone("dim"))
            case _:
                return Content(one_line(row.brings or formatting.DASH, limit=200))


class PluginDetail(Lines):
    """The detail of a plugin."""

    row: PluginRow | None = None

    def show(self, row: PluginRow | None) -> None:
        """Show another plugin."""
        self.row = row
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return plugin_lines(self.row, width) if self.row is not None else [Content()]


def plugin_lines(row: PluginRow, width: int) -> list[Content]:
    """The plugin, why it is broken if it is, and its families or metrics."""
    status = row.status
    lines = [line((one_line(status.name, limit=100), "bold"), "  ", status_text(status.status))]
    if status.problem:
        for text in printable(status.problem, limit=4_000).splitlines():
            lines += hanging_indent(Content.styled("why", tone("dim")), Content.styled(text, tone("failed")), 9, width)
    elif status.status == "disabled":
        lines += hanging_indent(
            Content.styled("why", tone("dim")), Content("MODEL_GARDEN_DISABLE_PLUGINS names it"), 9, width
        )
    package = " ".join(filter(None, (status.distribution, status.version)))
    for label, text in (("package", package), ("module", status.module), ("file", status.file or "")):
        if text:
            lines += hanging_indent(Content.styled(label, tone("dim")), Content(one_line(text, limit=400)), 9, width)
    for family in row.families:
        lines += [Content(), *_family_lines(family, width)]
    if row.metrics:
        lines += [Content(), Content.styled("Metrics", tone("dim"))]
    for metric in row.metrics:
        lines += _metric_lines(metric, width)
    return lines


def _metric_lines(metric: "Metric", width: int) -> list[Content]:
    name = Content(one_line(f"{metric.name} {metric.version}", limit=60))
    better = "" if metric.higher_is_better else "; less is better"
    text = line(one_line(metric.title, limit=100), (one_line(f"  {metric.summary}", limit=400) + better, tone("dim")))
    return hanging_indent(name, text, min(34, width // 2), width)


def _family_lines(family: "ModelFamily", width: int) -> list[Content]:
    from mg_tui.families.contract import CapabilityName

    types = ", ".join(family.model_types)
    title = line((one_line(family.title), tone("key", "bold")), (f"  {one_line(family.key)}", tone("dim")))
    lines = [title, *hanging_indent(Content.styled("types", tone("dim")), Content(one_line(types)), 9, width)]
    for name in get_args(CapabilityName):
        lines += _capability_lines(name, family.capability(name), width)
    if family.checkpoints:
        lines += [Content(), Content.styled("Checkpoints", tone("dim"))]
    for checkpoint in family.checkpoints:
        size = f"{formatting.parameters(checkpoint.parameters)} parameters"
        text = line((size, tone("dim")), (f"  {one_line(checkpoint.note)}" if checkpoint.note else "", tone("dim")))
        lines += hanging_indent(Content(one_line(checkpoint.name)), text, min(34, width // 2), width)
    return lines


def _capability_lines(name: str, capability: "Capability", width: int) -> list[Content]:
    level = type(capability).__name__
    glyph, tone_name = _SUPPORT_MARKS[level]
    label = line((f"{glyph} ", tone(tone_name)), name)
    why = getattr(capability, "why", "")
    text = line((level.lower(), tone(tone_name)), (f": {one_line(why)}" if why else "", tone("dim")))
    return hanging_indent(label, text, 18, width)
