"""How a dataset is read: format, layout, split and fields, each chosen from a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from mg_tui.core.options import split_list
from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.screens.modal import Dialog
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.table import Column, Table

# Encodings that tables of older programs are in; the form takes any.
_ENCODINGS: Final = ("latin-1", "cp1252", "cp1251", "gb18030", "shift_jis", "euc_kr", "utf-16")


@dataclass(frozen=True, slots=True)
class OptionChoice:
    """An option: its name in `TrainingSpec`, its title, its values with their labels, the index of the chosen one."""

    name: str
    title: str
    values: tuple[tuple[str | None, str], ...]
    selected: int = 0

    @property
    def value(self) -> str | None:
        """The chosen value; None leaves it to the detection."""
        return self.values[self.selected][0]


class OptionTable(Table[OptionChoice]):
    """The options; ← and → change the value under the cursor."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (Column("title", "", 12), Column("value", "", 30, grow=1))

    def key_of(self, row: OptionChoice) -> str:
        return row.name

    def cell_of(self, row: OptionChoice, key: str, width: int) -> Content:
        if key == "title":
            return Content.styled(row.title, tone("dim"))
        value, label = row.values[row.selected]
        style = tone("dim") if value is None else "bold"
        arrows = ("◂ ", " ▸") if len(row.values) > 1 else ("  ", "")
        return line((arrows[0], tone("key")), (label, style), (arrows[1], tone("key")))


class ReadOptionsScreen(Dialog[dict[str, str] | None]):
    """Returns the chosen options by their names in `TrainingSpec`, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("reading")]
    AUTO_FOCUS = "OptionTable"

    def __init__(self, options: Mapping[str, str], dataset: OpenDataset | None, json_lists: Sequence[str] = ()) -> None:
        """`dataset` is None when it could not be opened with `options`; `json_lists` are the lists of a JSON object."""
        super().__init__()
        self._options, self._dataset, self._json_lists = options, dataset, json_lists

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content.styled("Read options", "bold"))
            why = self._dataset.detected.why if self._dataset is not None else "It could not be opened this way."
            yield Static(Content(one_line(why, limit=300)), id="detail")
            yield OptionTable()
            keys = (("←→", "another"), ("enter", "apply"), ("esc", "cancel"))
            parts = [line((key, tone("key", "bold")), f" {label}") for key, label in keys]
            yield Static(Content("   ").join(parts), id="keys")

    def on_mount(self) -> None:
        self.query_one(OptionTable).show(build_choices(self._options, self._dataset, self._json_lists))

    def _change(self, by: int) -> None:
        table = self.query_one(OptionTable)
        choice = table.current
        if choice is not None:
            changed = replace(choice, selected=(choice.selected + by) % len(choice.values))
            table.show([changed if row.name == choice.name else row for row in table.rows])

    def action_another(self) -> None:
        self._change(1)

    def action_before(self) -> None:
        self._change(-1)

    def action_use(self) -> None:
        values = {row.name: row.value for row in self.query_one(OptionTable).rows}
        others = {name: value for name, value in self._options.items() if name not in values}
        self.dismiss({**others, **{name: value for name, value in values.items() if value is not None}})

    def action_close(self) -> None:
        self.dismiss(None)


def build_choices(
    options: Mapping[str, str], dataset: OpenDataset | None, json_lists: Sequence[str] = ()
) -> list[OptionChoice]:
    """The options of a dataset with their values, at what is chosen now."""
    from mg_tui.data.sources.base import FORMATS
    from mg_tui.data.sources.layouts import LAYOUTS
    from mg_tui.data.sources.splits import SPLIT_NAMES

    detected = dataset.detected if dataset is not None else None
    detected_format = f"detected: {FORMATS.get(detected.format, detected.format)}" if detected else "automatic"
    detected_layout = f"detected: {detected.layout}" if detected else "automatic"
    layouts = [(key, f"{key}: {title}") for key, title in LAYOUTS.items()]
    splits = [(name, name) for name in SPLIT_NAMES]
    encodings = [(name, name) for name in _ENCODINGS]
    choices = [
        _build_choice(options, "dataset_format", "Format", list(FORMATS.items()), detected_format),
        _build_choice(options, "dataset_layout", "Layout", layouts, detected_layout),
        _build_choice(options, "dataset_split", "Split", splits, "automatic: the only one, or train"),
        _build_choice(options, "dataset_encoding", "Encoding", encodings, "UTF-8, or by its first bytes"),
    ]
    if json_lists:
        lists = [(name, one_line(name, limit=80)) for name in json_lists]
        choices.append(_build_choice(options, "json_field", "JSON field", lists, "detected"))
    if dataset is None:
        return choices
    fields = [(name, one_line(name, limit=80)) for name in dataset.field_names()]
    used = {purpose: name for name, purpose in dataset.field_purposes().items()}
    for name, title, purpose in _field_options(dataset.layout):
        found = f"found: {one_line(used[purpose], limit=80)}" if purpose in used else "none found"
        choices.append(_build_choice(options, name, title, fields, found))
    choices.append(
        _build_choice(options, "image_root", "Image root", _image_root_values(options, dataset), "the dataset’s folder")
    )
    choices.append(_build_ignored(options, [name for name, _label in fields]))
    return choices


def _field_options(layout: str) -> Sequence[tuple[str, str, str]]:
    """The options that name a field in this layout: name, title, purpose of the field."""
    from mg_tui.data.sources.columns import CHAT_LAYOUTS

    images = ("image_field", "Images", "images")
    if layout in CHAT_LAYOUTS:
        return (("messages_field", "Conversation", "conversation"), images)
    question, answer = ("text_field", "Question", "question"), ("response_field", "Answer", "answer")
    return (images, answer) if layout == "captions" else (question, images, answer)


def _image_root_values(options: Mapping[str, str], dataset: OpenDataset) -> Sequence[tuple[str, str]]:
    """Folders that have images of this dataset, the chosen one and the folder above the dataset."""
    labels = {
        str(root.folder): f"{root.found} of {root.tried} missing images in {one_line(str(root.folder), limit=200)}"
        for root in dataset.image_roots
    }
    others = (options.get("image_root"), str(Path(dataset.source.base).absolute().parent))
    for folder in filter(None, others):
        labels.setdefault(folder, one_line(folder, limit=200))
    return list(labels.items())


def _build_ignored(options: Mapping[str, str], names: Sequence[str]) -> OptionChoice:
    """The columns that rows are read without: those that are ignored now, and with each of the others one more."""
    ignored = options.get("ignore_column")
    chosen = split_list(ignored or "")
    values = [", ".join([*chosen, name]) for name in names if name not in chosen]
    listed = [*([ignored] if ignored else []), *values]
    labels = [(value, one_line(value, limit=80)) for value in listed]
    return _build_choice(options, "ignore_column", "Ignored", labels, "no column")


def _build_choice(
    options: Mapping[str, str], name: str, title: str, values: Sequence[tuple[str, str]], default: str
) -> OptionChoice:
    """A choice among `values` and None, whose label is `default`."""
    listed: list[tuple[str | None, str]] = [(None, default), *values]
    chosen = options.get(name)
    selected = next((index for index, (value, _label) in enumerate(listed) if value == chosen), 0)
    return OptionChoice(name, title, tuple(listed), selected)
