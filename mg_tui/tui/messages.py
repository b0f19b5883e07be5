"""The log of passing messages: what the dashboard notified, kept so that none is missed."""

from dataclasses import dataclass
from typing import Final

from textual.notifications import SeverityLevel

MAX_MESSAGES: Final = 200


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message: Unix time in seconds, severity, title and text."""

    time: float
    severity: SeverityLevel
    title: str
    text: str
