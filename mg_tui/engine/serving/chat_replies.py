"""OpenAI's answers: completions, chunks of a stream, errors, the list of models."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mg_tui.engine.serving.answering import AnswerEnd

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """One answer as OpenAI's objects, whole or in chunks."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, end: AnswerEnd) -> dict[str, Any]:
        """The answer of a request without `stream`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(end)}

    def first(self) -> str:
        """The first chunk of a stream, without text."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> str:
        """A chunk with text."""
        return self._chunk({"content": text})

    def last(self, end: AnswerEnd, *, include_usage: bool) -> str:
        """The chunk with the reason of the end, the one with token counts if wanted, and the end of the stream."""
        counts = _event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage(end)})
        return self._chunk({}, end.finish_reason) + (counts if include_usage else "") + DONE

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(end: AnswerEnd) -> dict[str, int]:
    """Token counts."""
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    }


def error_body(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_event(body: dict[str, Any]) -> str:
    """An error within a stream, which has begun with status 200."""
    return _event(body) + DONE


def model_list(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": list(entries)}


def model_entry(name: str, created: int, base: str, *, proof: Any = None) -> dict[str, Any]:
    """One model of the list; `root` is its base model, and `proof` says whether it answers as the trained one."""
    entry = {"id": name, "object": "model", "created": created, "owned_by": "model-garden", "root": base}
    return entry if proof is None else {**entry, "proof": proof}


def _event(record: dict[str, Any]) -> str:
    return f"data: {json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n\n"
