"""What chats remember between sessions, in `<home>/chat.json` (see `json_store`): questions and sampling."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import did_you_mean
from mg_tui.runs import json_store

FILE_NAME: Final = "chat.json"
MAX_QUESTIONS: Final = 200


@dataclass(frozen=True, slots=True)
class ChatSampling:
    """How tokens are chosen, as the engine takes it; `temperature` 0 is greedy. Without `seed` one is drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None

    def as_text(self) -> str:
        """As it is typed: `temperature=0.7 top_p=0.9 max_new_tokens=512`."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return " ".join(f"{name}={value:g}" for name, value in values.items())

    def fields(self) -> dict[str, Any]:
        """The fields of a request."""
        return {name: value for name, value in asdict(self).items() if value is not None}


DEFAULT_SAMPLING: Final = ChatSampling()


def parse_sampling(text: str) -> ChatSampling:
    """Values as typed, `name=value` with blanks between them; what is left out has its default.

    Raises:
        UsageError: a name or a value is none; the message says what would be accepted.
    """
    values: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        name, _, value = word.partition("=")
        if name not in _BOUNDS:
            known = ", ".join(_BOUNDS)
            raise UsageError(f"There is no {name!r}{did_you_mean(name, _BOUNDS)}", hint=f"give {known}, as name=value")
        kind, low, high, accepted = _BOUNDS[name]
        try:
            number = kind(value)
        except ValueError:
            number = -1
        if not low <= number <= high:
            raise UsageError(f"{name}: got {value!r}; {accepted}")
        values[name] = number
    return ChatSampling(**values)


_BOUNDS: Final[dict[str, tuple[type[int] | type[float], float, float, str]]] = {
    "temperature": (float, 0.0, 10.0, "give a number from 0 (greedy) to 10"),
    "top_p": (float, 1e-6, 1.0, "give a number greater than 0 and at most 1"),
    "max_new_tokens": (int, 1, 100_000, "give a whole number from 1 to 100000"),
    "seed": (int, 0, 2**63 - 1, "give a whole number of at least 0"),
}


def read_sampling(home: Path) -> ChatSampling:
    """The sampling of the last chat."""
    kept = json_store.load(home / FILE_NAME).get("sampling")
    try:
        return parse_sampling(kept) if isinstance(kept, str) else DEFAULT_SAMPLING
    except UsageError:
        return DEFAULT_SAMPLING


def write_sampling(home: Path, sampling: ChatSampling) -> None:
    """Keep it for the next chat."""
    json_store.save(home / FILE_NAME, {**json_store.load(home / FILE_NAME), "sampling": sampling.as_text()})


class QuestionHistory:
    """Questions of this chat and of earlier ones, walked through as in a shell."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        kept = json_store.load(self._file).get("questions")
        self._questions = [item for item in kept if isinstance(item, str)] if isinstance(kept, list) else []
        self._index = len(self._questions)
        self._typed = ""  # what stood in the field before walking

    def add(self, question: str) -> None:
        """A question was asked."""
        self._questions = [*(item for item in self._questions if item != question), question][-MAX_QUESTIONS:]
        self._index = len(self._questions)
        json_store.save(self._file, {**json_store.load(self._file), "questions": self._questions})

    def step(self, by: int, typed: str) -> str | None:
        """The question before (-1) or after (1) the one in the field; None at an end. `typed`: what is in the field."""
        index = self._index + by
        if not 0 <= index <= len(self._questions):
            return None
        if self._index == len(self._questions):
            self._typed = typed
        self._index = index
        return self._typed if index == len(self._questions) else self._questions[index]
