"""An engine that is another program on this machine: it speaks OpenAI's protocol on a loopback port, and is our child.

Requests reach it with their images as data URIs of what `open_image` gives, and with the trained system prompt. It
streams, whatever the client asked for. A supervisor ends it when this process ends, however that happens.
"""

import asyncio
import json
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from mg_tui.core.errors import GardenError, RunFailed
from mg_tui.core.example import Message, TextPart, with_system_prompt
from mg_tui.core.text import one_line
from mg_tui.engine.evaluation.data_uri import image_data_uri
from mg_tui.engine.evaluation.protocol import REFUSED_ROWS, server_message
from mg_tui.engine.serving.answering import (
    AnswerEnd,
    ChatTask,
    EngineEnded,
    FinishReason,
    PendingAnswer,
    TaskRefused,
    TextPiece,
    TooManyWaiting,
)
from mg_tui.engine.serving.upstream_process import UpstreamProcess

_SEEDS: Final = 2**31 - 1
# What llama-server and vLLM say of a prompt that is longer than the context.
_TOO_LONG: Final = ("available context size", "maximum context length", "maximum model length", "max_model_len")


@dataclass(frozen=True, slots=True)
class UpstreamModel:
    """A model of the program: its name there, the trained system prompt, and fields of every request."""

    name: str
    system_prompt: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class UpstreamEngine:
    """Answers requests by asking the program; a `ServingEngine`.

    Args:
        process: ready.
        models: by the name that requests give them.
        key: of the program's API.
        max_waiting: requests without a first token; further ones are refused.
        timeout: seconds of a request.
    """

    def __init__(
        self,
        process: UpstreamProcess,
        models: Mapping[str, UpstreamModel],
        key: str,
        *,
        max_waiting: int,
        timeout: float,
    ):
        self.names = tuple(models)
        self.answering = 0
        self.waiting = 0
        self._process = process
        self._models = dict(models)
        self._key = key
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._closing = False
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
        self._lock = threading.Lock()
        self._tasks: dict[PendingAnswer, asyncio.Task[None]] = {}

    def problem(self) -> str | None:
        """See `ServingEngine.problem`."""
        ended = None if self._closing else self._process.ended()
        return None if ended is None else f"{self._process.command}: {ended}"

    def start(self, task: ChatTask) -> PendingAnswer:
        """See `ServingEngine.start`."""
        if self._closing or self._process.ended() is not None:
            raise EngineEnded("the server is ending", why=self.problem())
        if self.waiting >= self._max_waiting:
            raise TooManyWaiting(self.waiting, seconds=2)
        pending = PendingAnswer(task, self._cancel)
        self._tasks[pending] = asyncio.get_running_loop().create_task(self._answer(pending))
        return pending

    def close(self) -> None:
        """See `ServingEngine.close`."""
        self._closing = True
        for pending in list(self._tasks):
            pending.send(EngineEnded("the server is ending"))
        self._process.close()

    def _cancel(self, pending: PendingAnswer) -> None:
        if (task := self._tasks.get(pending)) is not None:
            task.cancel()

    async def _answer(self, pending: PendingAnswer) -> None:
        self._count(answering=1, waiting=1)
        first = True
        try:
            body = await asyncio.to_thread(self._body, pending.task)
            async with self._client().stream("POST", f"{self._process.url}/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    pending.send(_refusal(response))
                    return
                reader = _StreamReader()
                async for line in response.aiter_lines():
                    if text := reader.read(line):
                        if first:
                            first = False
                            self._count(waiting=-1)
                        pending.send(TextPiece(text))
                pending.send(reader.end())
        except httpx.HTTPError as error:
            why = self._process.ended() or one_line(str(error), limit=200) or type(error).__name__
            pending.send(RunFailed("the engine did not answer", why=why))
        except ValueError as error:
            pending.send(RunFailed("the engine's answer is not one of OpenAI's", why=one_line(str(error), limit=200)))
        except GardenError as error:  # an image that is gone
            pending.send(error)
        except Exception:  # whoever waits must not wait for ever
            traceback.print_exc()
            pending.send(RunFailed("the engine's answer cannot be read"))
        finally:
            self._tasks.pop(pending, None)
            self._count(answering=-1, waiting=-1 if first else 0)

    def _count(self, *, answering: int = 0, waiting: int = 0) -> None:
        with self._lock:
            self.answering += answering
            self.waiting += waiting

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = httpx.AsyncClient(
                trust_env=False,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=httpx.Timeout(self._timeout, connect=10.0, pool=self._timeout),
                limits=httpx.Limits(max_connections=None),
            )
        return self._clients[loop]

    def _body(self, task: ChatTask) -> dict[str, Any]:
        model, sampling = self._models[task.model], task.sampling
        messages = with_system_prompt(task.messages, model.system_prompt)
        body: dict[str, Any] = {
            "model": model.name,
            "messages": [_message(message) for message in messages],
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
            **model.extra,
        }
        if sampling.seed is not None:
            # llama-server has seeds of 32 bits, the largest of which means any; vLLM's have a sign.
            body["seed"] = sampling.seed % _SEEDS
        if task.stop:
            body["stop"] = list(task.stop)
        return body


class _StreamReader:
    """Reads the lines of a stream of chunks."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._pieces = 0

    def read(self, line: str) -> str:
        """The text of a line; empty when it has none.

        Raises:
            ValueError: it is no chunk, or the engine says that it failed.
        """
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            return ""
        record = json.loads(line[5:])
        if not isinstance(record, dict):
            raise ValueError("a chunk that is no object")
        if record.get("error"):
            raise ValueError(one_line(json.dumps(record["error"]), limit=200))
        if isinstance(record.get("usage"), dict):
            self._usage = record["usage"]
        choices = record.get("choices") or [{}]
        self._reason = choices[0].get("finish_reason") or self._reason
        text = (choices[0].get("delta") or {}).get("content") or ""
        self._pieces += bool(text)
        return str(text)

    def end(self) -> AnswerEnd:
        """The end of the answer.

        Raises:
            ValueError: the stream ended before it.
        """
        if self._reason is None:
            raise ValueError("the stream ended before the answer")
        reason: FinishReason = "length" if self._reason == "length" else "stop"
        generated = self._usage.get("completion_tokens", self._pieces)
        return AnswerEnd(reason, int(self._usage.get("prompt_tokens", 0)), int(generated))


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": image_data_uri(part.image.path)}}
        for part in message.parts
    ]
    plain = all(part["type"] == "text" for part in parts)
    return {"role": message.role, "content": message.text if plain else parts}


def _refusal_code(said: str) -> str | None:
    """OpenAI's name of the reason, where it is one that clients look for."""
    too_long = any(words in said for words in _TOO_LONG)
    return "context_length_exceeded" if too_long else None


def _refusal(response: httpx.Response) -> TaskRefused | RunFailed | TooManyWaiting:
    said = server_message(response)
    if response.status_code in REFUSED_ROWS:
        return TaskRefused("the engine refused the request", why=said, code=_refusal_code(said))
    if response.status_code in (429, 503):
        return TooManyWaiting(0, seconds=5)
    return RunFailed(f"the engine answered with status {response.status_code}", why=said)
