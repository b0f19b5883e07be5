"""What is said of the field under the cursor: what it is, what it takes, and what is wrong with its value."""

from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, justify, line


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """Texts about a field: its title and unit, where it is set besides, its help, and what is wrong or accepted."""

    title: str
    note: str = ""
    help: str = ""
    accepted: str = ""
    problem: str = ""
    default: str = ""


class FieldHelpPane(Lines):
    """Four lines; with more room, as many as the help needs."""

    DEFAULT_CSS = """
    FieldHelpPane { height: 4; background: $surface; padding: 0 1; }
    """
    field_help: reactive[FieldHelp | None] = reactive(None, repaint=False)

    def watch_field_help(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.field_help is None:
            return [Content()]
        about = self.field_help
        head = justify(
            line((one_line(about.title), "bold"), (f"  {one_line(about.note)}" if about.note else "", tone("dim"))),
            Content.styled(one_line(about.default, limit=60), tone("dim")),
            width,
        )
        help_lines = Content(one_line(about.help)).wrap(max(width, 8))
        if about.problem:
            said = Content.styled(f"✗ {one_line(about.problem)}", tone("failed")).wrap(max(width, 8))
        elif about.accepted:
            said = [Content.styled(one_line(about.accepted), tone("dim"))]
        else:
            said = []
        room = max((self.size.height or 4) - 1, 1)
        said = said[:2]
        return [head, *help_lines[: max(room - len(said), 1)], *said]
