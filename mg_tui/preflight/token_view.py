"""A row token by token, as the model sees it: what `datasets show --tokens` prints and the API answers.

`mg_tui.engine.inference.inspect_tokens` tokenizes, in a process of its own.
"""

from collections.abc import Callable
from typing import Any

from mg_tui.core.errors import DataError
from mg_tui.core.example import TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.row_loader import LoadedRow
from mg_tui.runs.engine_process import EngineProcess

_FIELDS = ("base_model", "revision", "min_pixels", "max_pixels", "system_prompt", "train_on_prompt", "family")


def open_token_inspector(spec: TrainingSpec, notify: Callable[[str], None] = lambda _text: None) -> EngineProcess:
    """Start a process that holds the tokenizer and processor of the spec's base model.

    Args:
        spec: base model and options that decide what the model sees.
        notify: called with messages of the process.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: the hub cannot be reached.
    """
    child = EngineProcess("mg_tui.engine.inference.inspect_tokens")
    try:
        for event in child.stream("open", **{name: getattr(spec, name) for name in _FIELDS}):
            if event["event"] == "notice":
                notify(str(event["text"]))
    except BaseException:
        child.close(0.1)
        raise
    return child


def inspect_row(inspector: EngineProcess, row: LoadedRow) -> dict[str, Any]:
    """Tokenize a row; returns the reply of the process, or `{"refused": reason}`."""
    if row.example is None:
        return {"refused": "rows with errors cannot be tokenized"}
    messages = [
        {
            "role": message.role,
            "learn": message.supervised,
            "parts": [
                {"text": part.text} if isinstance(part, TextPart) else {"image": part.image.path}
                for part in message.parts
            ],
        }
        for message in row.example.messages
    ]
    try:
        *_progress, reply = inspector.stream("row", row=row.number, messages=messages)
    except DataError as error:
        return {"refused": error.what + (f" ({error.why})" if error.why else "")}
    return {name: reply[name] for name in ("tokens", "learned", "image_tokens", "images", "pieces")}
