"""Something to choose from a list."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry of a list: the id that choosing it returns, its name, a note beside it, a description below."""

    id: str
    title: str
    note: str = ""
    description: str = ""
    marked: bool = False
