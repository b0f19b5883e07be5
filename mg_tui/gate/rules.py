"""Which caller may do what: one rule per method and path, and nothing without a rule."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mg_tui.gate.tokens import Scope

_PARAMETER: Final = re.compile(r"\{[a-z_]+\}")
# What an id in a path may be; everything else is no path of ours. A longer one cannot be the name of a file.
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"
JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "multipart/form-data"
PAGE_FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the token's name, or `LOCAL_CALLER` for a process of the same user without one."""

    name: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What one method of one path needs.

    Attributes:
        method: GET also allows HEAD, which the application sees as GET.
        path: the whole path; `{name}` stands for one segment of letters, digits, dots, colons, dashes and underscores.
        scope: that the caller's token needs.
        follower: the answer is a stream that lasts; it counts as a follower and not as a request under way.
        content_type: that a body must have.
        max_body: the most bytes of a body; None: those of the limits.
        body_seconds: the time that a body may take; None: that of the limits.
        page: a browser may ask, from the address bar or from a page of this server, and a session is enough.
        is_open: no caller is needed: the form to sign in, which is the same for everybody.
    """

    method: str
    path: str
    scope: Scope
    follower: bool = False
    content_type: str = JSON_TYPE
    max_body: int | None = None
    body_seconds: float | None = None
    page: bool = False
    is_open: bool = False
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.page and self.method != "GET" and not self.is_open:
            raise ValueError("a page only shows: a session of a browser must change nothing")
        parts = [re.escape(part) for part in _PARAMETER.split(self.path)]
        object.__setattr__(self, "pattern", re.compile(_SEGMENT.join(parts)))

    def allows_method(self, method: str) -> bool:
        """Whether it is the rule of a method."""
        return method == self.method or (method == "HEAD" and self.method == "GET" and not self.follower)


class RuleTable:
    """Finds the rule of a request."""

    def __init__(self, rules: Iterable[AccessRule]):
        self.rules = tuple(rules)

    def find(self, method: str, path: str) -> AccessRule | None:
        """The rule of a method and a path, or None."""
        return next((r for r in self.rules if r.allows_method(method) and r.pattern.fullmatch(path)), None)

    def methods(self, path: str) -> list[str]:
        """The methods that a path has."""
        return sorted({rule.method for rule in self.rules if rule.pattern.fullmatch(path)})
