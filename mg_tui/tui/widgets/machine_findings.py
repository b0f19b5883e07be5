"""What the doctor found: warnings and problems with what to do, and how much is in order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from textual.content import Content

from mg_tui.core.program import runnable
from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line

if TYPE_CHECKING:
    from mg_tui.doctor.findings import MachineFinding

_LABEL_WIDTH: Final = 20
_TONES: Final = {"ok": "running", "warning": "eval", "problem": "failed"}


class MachineFindings(Lines):
    """The findings, worst first; those that are ok are counted."""

    def __init__(self) -> None:
        super().__init__()
        self._findings: Sequence[MachineFinding] | None = None

    def show_findings(self, findings: "Sequence[MachineFinding]") -> None:
        """Show what was found."""
        self._findings = findings
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self._findings is None:
            return [Content(), Content.styled("checking this machine …", tone("dim"))]
        from mg_tui.doctor.findings import LEVELS, MARKS

        lines = [Content()]
        for level in reversed(LEVELS[1:]):
            for finding in self._findings:
                if finding.level == level:
                    label = line((f"{MARKS[level]} ", tone(_TONES[level], "bold")), one_line(finding.subject, limit=17))
                    lines += hanging_indent(label, Content(one_line(finding.text)), _LABEL_WIDTH, width)
                    if finding.hint:
                        hint = Content.styled(f"try: {one_line(runnable(finding.hint))}", tone("dim"))
                        lines += hanging_indent(Content(), hint, _LABEL_WIDTH, width)
        good = sum(finding.level == "ok" for finding in self._findings)
        text = f"{formatting.count(good, 'check')} in order; `{runnable('model-garden doctor')} --deep` tries more"
        return [*lines, line((f"{MARKS['ok']} ", tone(_TONES["ok"], "bold")), (text, tone("dim")))]
