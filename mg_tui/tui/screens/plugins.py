"""The plugins of model families and of metrics, and why one of them cannot be used."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.core.errors import describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.plugins.table import PluginDetail, PluginRow, PluginTable, plugin_lines
from mg_tui.tui.widgets.scroll_box import ScrollBox
from mg_tui.tui.widgets.table import Table


class PluginsListed(Message):
    """The plugins; or why they could not be listed."""

    def __init__(self, rows: tuple[PluginRow, ...], unknown_disabled: tuple[str, ...] = (), problem: str = "") -> None:
        super().__init__()
        self.rows, self.unknown_disabled, self.problem = rows, unknown_disabled, problem


class PluginsScreen(GardenScreen[None]):
    """Lists the plugins once, in a thread, which imports them."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("plugins")]
    AUTO_FOCUS = "PluginTable"

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Static(Content.styled("looking for plugins …", tone("dim")), id="empty")
        with Container(id="plugins"):
            yield PluginTable()
            with ScrollBox(id="about-plugin"):
                yield PluginDetail()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#plugins").display = False
        self.run_worker(self._read, thread=True, exit_on_error=False)

    def _read(self) -> None:
        try:
            from mg_tui.families.registry import reload_registry
            from mg_tui.metrics.registry import load_metrics

            registry = reload_registry()
            families = [
                PluginRow(status, tuple(family for family in registry.families if family.key in status.families))
                for status in registry.plugins
            ]
            metrics = [PluginRow(plugin, metrics=plugin.values) for plugin in load_metrics().plugins]
            own = {row.status.name for row in metrics}
            unknown = tuple(name for name in registry.unknown_disabled if name not in own)
            self.post_message(PluginsListed((*families, *metrics), unknown))
        except Exception as error:  # the other places go on
            self.post_message(PluginsListed((), problem=describe_exception(error)))

    def on_plugins_listed(self, message: PluginsListed) -> None:
        empty = self.query_one("#empty", Static)
        if message.problem:
            empty.update(line(("Cannot list plugins: ", tone("failed")), message.problem))
            return
        if not message.rows:
            empty.update(
                Content("\n").join(
                    [
                        Content.styled("❀  No plugins are installed", tone("key", "bold")),
                        Content(),
                        Content.styled("pip install model-garden-tui", tone("smooth", "bold")),
                        Content.styled("brings the model families", tone("dim")),
                    ]
                )
            )
            return
        empty.display = False
        self.query_one("#plugins").display = True
        table = self.query_one(PluginTable)
        table.show(message.rows)
        self.set_focus(table)
        broken = sum(row.status.status == "broken" for row in message.rows)
        parts = [line((formatting.count(len(message.rows), "plugin"), tone("dim")))]
        if broken:
            parts.insert(0, line((f"✗ {broken} broken", tone("failed"))))
        self.query_one(TopBar).right = Content("  ").join(parts)
        for name in message.unknown_disabled:
            name = one_line(name, limit=80)
            self.notify(f"MODEL_GARDEN_DISABLE_PLUGINS names {name}, which is not a plugin.", severity="warning")

    def on_table_moved(self) -> None:
        self.query_one(PluginDetail).show(self.query_one(PluginTable).current)
        self.query_one("#about-plugin", ScrollBox).scroll_home(animate=False)
        self.refresh_bindings()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_detail()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("text", "detail"):
            return bool(self.query(PluginTable)) and self.query_one(PluginTable).current is not None
        return True

    def action_detail(self) -> None:
        self.set_focus(self.query_one("#about-plugin"))

    def action_back(self) -> None:
        self.set_focus(self.query_one(PluginTable))

    def action_text(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        row = self.query_one(PluginTable).current
        if row is not None:
            text = "\n".join(content.plain.rstrip() for content in plugin_lines(row, 100))
            self.app.push_screen(PlainTextScreen(row.status.name, text))
