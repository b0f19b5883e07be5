"""The command palette: every action that applies, with its keys, and jumps to runs, datasets, models, settings."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from mg_tui.core.settings import SETTINGS
from mg_tui.core.text import one_line
from mg_tui.tui.actions import ACTIONS, Action, format_key, is_available, keys_in_use
from mg_tui.tui.base_app import BaseApp
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line

_MENTION_SCORE = 0.2  # of what has the words elsewhere than in its title


@dataclass(frozen=True, slots=True)
class PaletteEntry:
    """Something that the palette offers: its title, a line of help, its keys, other words for it, and what it does."""

    title: str
    help: str
    run: Callable[[], Any]
    keys: str = ""
    words: str = ""


class PaletteProvider(Provider):
    """Actions first, in the order of the registry; what can be jumped to is offered once something is typed."""

    async def startup(self) -> None:
        # Models and options are read in a thread: the palette opens at once.
        self._reading = asyncio.create_task(asyncio.to_thread(self._read_slow_entries))

    async def shutdown(self) -> None:
        self._reading.cancel()

    @property
    def _app(self) -> BaseApp:
        assert isinstance(self.app, BaseApp)
        return self.app

    async def discover(self) -> Hits:
        for entry in self._actions():
            yield DiscoveryHit(_with_keys(Content(entry.title), entry), entry.run, text=entry.title, help=entry.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        words = query.casefold().split()
        for entry in [*self._actions(), *self._runs(), *self._datasets(), *self._settings(), *await self._slow()]:
            score = matcher.match(entry.title)
            if score <= 0 and all(word in f"{entry.title} {entry.help} {entry.words}".casefold() for word in words):
                score = _MENTION_SCORE
            if score > 0:
                title = _with_keys(matcher.highlight(entry.title), entry)
                yield Hit(score, title, entry.run, text=entry.title, help=entry.help)

    # --- what there is

    def _actions(self) -> Iterator[PaletteEntry]:
        """Every action that applies to the screen below."""
        active = {item.binding.id for item in self.screen.active_bindings.values() if item.enabled}
        for action in ACTIONS:
            if action.in_palette and action.id in active and is_available(self._app, action):
                keys = " ".join(map(format_key, keys_in_use(self._app, action)))
                yield PaletteEntry(action.title, action.help, partial(self._run_action, action), keys)

    async def _run_action(self, action: Action) -> None:
        await self._app.run_action(action.name, self._app if action.scope == "app" else self.screen)

    def _runs(self) -> Iterator[PaletteEntry]:
        for row in self._app.run_rows or ():
            tags = " ".join(f"#{tag}" for tag in row.annotations.tags)
            help = " · ".join(filter(None, ("run", row.state.label, row.model, tags)))
            yield PaletteEntry(row.title, help, partial(self._app.open_run, row.folder), words=row.id)

    def _datasets(self) -> Iterator[PaletteEntry]:
        from mg_tui.runs import recents

        settings = self._app.settings
        if self._app.elsewhere is not None:
            return
        references = [item.reference for item in recents.read(settings.home, "datasets")]
        for reference in dict.fromkeys([*settings.datasets, *references]):
            title = one_line(reference, limit=200)
            yield PaletteEntry(title, "dataset", partial(self._app.open_dataset, reference))

    def _settings(self) -> Iterator[PaletteEntry]:
        for setting in SETTINGS:
            help, words = f"setting · {setting.help}", f"{setting.id} {setting.env_variable}"
            yield PaletteEntry(setting.title, help, partial(self._app.open_setting, setting.id), words=words)

    async def _slow(self) -> Iterable[PaletteEntry]:
        """Models and options, as soon as they were read."""
        return await asyncio.shield(self._reading)

    def _read_slow_entries(self) -> list[PaletteEntry]:
        if self._app.elsewhere is not None:  # they are of places that there are not
            return []
        return [*self._options(), *self._models()]

    def _options(self) -> Iterator[PaletteEntry]:
        from mg_tui.core.options import options_of
        from mg_tui.core.spec import TrainingSpec

        for opt in options_of(TrainingSpec):
            words = " ".join((opt.flag, opt.name, *opt.choices, *opt.synonyms))
            yield PaletteEntry(opt.title, f"option · {opt.help}", partial(self._app.open_option, opt.name), words=words)

    def _models(self) -> Iterator[PaletteEntry]:
        from mg_tui.tui.models.catalog import KIND_LABELS, find_models

        try:
            rows = find_models(self._app.settings.home)
        except Exception:  # whatever a disk or a plugin raises; the screen of models says so
            return
        for row in rows:
            help = " · ".join(filter(None, ("model", KIND_LABELS[row.kind], row.base)))
            yield PaletteEntry(row.title, help, partial(self._app.open_model, row.reference), words=row.run or "")


def _with_keys(title: Content, entry: PaletteEntry) -> Content:
    return line(title, (f"  {entry.keys}", tone("key"))) if entry.keys else title
