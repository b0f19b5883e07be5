"""The rows of a dataset that is converted: looked at once, then given once more to be written."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mg_tui.core.errors import DataError
from mg_tui.data.convert.pictures import Pictures
from mg_tui.data.convert.schema import Facts
from mg_tui.data.images import ImageError
from mg_tui.data.mapping import Draft
from mg_tui.data.pictures import Kept, PictureStore
from mg_tui.data.problems import RowProblem, plain, shown
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Recognised, Source
from mg_tui.data.sources.layouts import to_draft
from mg_tui.data.sources.saying import Said, Unsayable, names_of, say, used_names

_DEEPEST: Final = 100


class Rows:
    """The rows of the source, twice: to look at, and to write."""

    def __init__(
        self,
        source: Source,
        recognised: Recognised,
        layout: str,
        store: PictureStore,
        pictures: Pictures,
        progress: Callable[[int], None] | None,
    ):
        self._source = source
        self._recognised = recognised
        self._store = store
        self._pictures = pictures
        self._progress = progress
        self._done = 0
        self.facts = Facts(layout)
        self.problems: list[RowProblem] = []
        self.lost: Counter[str] = Counter()
        self.good = 0

    def look(self) -> None:
        """See every row, and gather what has to be known of all."""
        for row, draft in self._drafts():
            found = self._said(row, draft)
            if isinstance(found, RowProblem):
                self.problems.append(found)
                continue
            said, along = found
            self.good += 1
            self.facts.see(said.values, along)
            self.facts.several = self.facts.several or len(draft.images) > 1
            self.facts.weighted = self.facts.weighted or not all(turn.learn for turn in draft.turns)
            self.lost.update(said.lost)
            self.lost.update(self._dropped(row))

    def again(self) -> Iterator[tuple[dict[str, Any], Draft]]:
        """The values of every good row, and its draft."""
        bad = {problem.row for problem in self.problems}
        before = list(self.problems)
        for row, draft in self._drafts():
            if row.number in bad:
                continue
            found = self._said(row, draft)
            if isinstance(found, RowProblem):
                raise DataError("the dataset changed while it was converted", where=plain(self._source.name))
            said, along = found
            yield {**said.values, **along}, draft
        self.problems = before

    def _drafts(self) -> Iterator[tuple[Row, Draft]]:
        for row in self._source.rows():
            self._done += 1
            if self._progress is not None and self._done % 64 == 0:
                self._progress(self._done)
            draft = to_draft(row, self._recognised.layout, self._recognised.fields, self._store)
            if isinstance(draft, Draft):
                yield row, draft
            else:
                raw = self._source.raw(row)
                self.problems += [replace(problem, raw=problem.raw or raw) for problem in draft]

    def _said(self, row: Row, draft: Draft) -> tuple[Said, dict[str, Any]] | RowProblem:
        try:
            said = say(draft, self.facts.layout, self._recognised.fields, several=self.facts.several)
        except Unsayable as error:
            return RowProblem(row.number, None, str(error), "choose another --layout", self._source.raw(row))
        for given in draft.images:
            try:
                self._pictures.find(given)
            except ImageError as error:
                name = shown(given.given if isinstance(given, Kept) else given)
                what = f"{name} {error.reason}"
                return RowProblem(row.number, draft.image_field, what, error.hint, self._source.raw(row))
        if any(depth > _DEEPEST for _item, depth in _inside(row.values)):
            what = f"has values nested deeper than {_DEEPEST} levels, which are not written"
            return RowProblem(row.number, None, what, None, self._source.raw(row))
        return said, {name: value for name, value in self._others(row).items() if self._goes_along(name, value)}

    def _others(self, row: Row) -> dict[str, Any]:
        values = row.values or {}
        used = used_names(values, self._recognised.layout, self._recognised.fields)
        return {name: value for name, value in values.items() if name not in used}

    def _goes_along(self, name: str, value: Any) -> bool:
        return name not in names_of(self.facts.layout) and not _has_bytes(value)

    def _dropped(self, row: Row) -> list[str]:
        """Fields that do not go along: bytes, and those in the way of the layout's own."""
        return [
            f"the field {shown(name, limit=40)}: " + ("it holds bytes" if _has_bytes(value) else "its name is taken")
            for name, value in self._others(row).items()
            if not self._goes_along(name, value) and value not in (None, "", [])
        ]


def _has_bytes(value: Any) -> bool:
    return any(isinstance(item, bytes) for item, _depth in _inside(value))


def _inside(value: Any) -> Iterator[tuple[Any, int]]:
    """A value and all that is inside it, each with how deep; without recursion, for it may be deep."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        yield item, depth
        inner = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else ()
        waiting += [(one, depth + 1) for one in inner]
