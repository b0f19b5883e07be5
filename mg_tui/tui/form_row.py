"""The rows of a form and the help of its fields, as widgets draw them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FormRow:
    """A field, or the heading of a group.

    Attributes:
        id: the name of the field or group.
        title, value, unit: as shown; made printable when drawn.
        kind: "group", or the kind of the field (see `mg_tui.core.options`).
        changed: the value differs from the default.
        invalid: the value cannot be used.
        missing: the field is required and has no value.
        expanded: of a group, whether its fields are shown.
    """

    id: str
    title: str
    value: str = ""
    kind: str = "text"
    unit: str = ""
    changed: bool = False
    invalid: bool = False
    missing: bool = False
    expanded: bool = False

    @property
    def is_group(self) -> bool:
        """Whether it is a heading."""
        return self.kind == "group"


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """Texts about a field: title, note (flag, unit), help, accepted values, the problem of its value, default."""

    title: str
    note: str = ""
    help: str = ""
    accepted: str = ""
    problem: str = ""
    default: str = ""
