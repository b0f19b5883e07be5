"""The help of the field under the cursor: what it is, which values it accepts, and the problem of its value."""

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui.form_row import FieldHelp
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, justify, line


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
        field = self.field_help
        head = justify(
            line((one_line(field.title), "bold"), (f"  {one_line(field.note)}" if field.note else "", tone("dim"))),
            Content.styled(one_line(field.default, limit=60), tone("dim")),
            width,
        )
        help_lines = Content(one_line(field.help)).wrap(max(width, 8))
        if field.problem:
            last_lines = Content.styled(f"✗ {one_line(field.problem)}", tone("failed")).wrap(max(width, 8))[:2]
        elif field.accepted:
            last_lines = [Content.styled(one_line(field.accepted), tone("dim"))]
        else:
            last_lines = []
        room = max((self.size.height or 4) - 1, 1)
        return [head, *help_lines[: max(room - len(last_lines), 1)], *last_lines]
