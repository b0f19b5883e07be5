"""A small server that answers as OpenAI's chat completions, or fails as it is told; in a thread of the test."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Reply:
    """What one request gets instead of an answer."""

    def __init__(
        self, status: int, body: bytes | dict[str, Any], headers: Mapping[str, str] | None = None, *, after: float = 0.0
    ):
        self.status, self.headers, self.after = status, dict(headers or {}), after
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class OpenAIServer:
    """The server. A context manager.

    Attributes:
        replies: given to the next requests in turn, before any answer.
        always: given to every request while it is set.
        requests: the bodies that came, in order; `most_at_once` how many were under way together.
    """

    def __init__(self, answer: Callable[[str], str], *, models: tuple[str, ...] = ("served",), pause: float = 0.0):
        self.answer, self.models, self.pause = answer, models, pause
        self.models_status = 200
        self.replies: deque[Reply] = deque()
        self.always: Callable[[dict[str, Any]], Reply | None] = lambda _body: None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer_body(self, body: dict[str, Any]) -> str:
        """The answer to a request; here to its question alone."""
        return self.answer(question_of(body))

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply | str:
        """A failure, or the text of an answer."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            scripted = self.replies.popleft() if self.replies else self.always(body)
        try:
            time.sleep(self.pause if scripted is None else scripted.after)
            return self.answer_body(body) if scripted is None else scripted
        finally:
            with self._lock:
                self._at_once -= 1


def question_of(body: Mapping[str, Any]) -> str:
    """The text of the last turn of a request."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def images_of(body: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Type and bytes of the images of a request."""
    found = []
    for turn in body["messages"]:
        for part in turn["content"] if isinstance(turn["content"], list) else []:
            if part["type"] == "image_url":
                kind, _, data = part["image_url"]["url"].removeprefix("data:").partition(";base64,")
                found.append((kind, base64.b64decode(data, validate=True)))
    return found


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Nothing on standard error."""

        def do_GET(self) -> None:
            listed = [{"id": name, "object": "model"} for name in server.models]
            body = json.dumps({"data": listed}).encode() if server.models else b"no list"
            self._send(server.models_status, body, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.reply(body, dict(self.headers))
            if isinstance(reply, Reply):
                self._send(reply.status, reply.body, reply.headers)
            elif body.get("stream"):
                self._stream(reply)
            else:
                record = {
                    "choices": [{"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}],
                    "usage": {"completion_tokens": len(reply.split())},
                }
                self._send(200, json.dumps(record).encode(), {})

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            kind = "application/json" if body.startswith((b"{", b"[")) else "text/html"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, text: str) -> None:
            pieces = [{"choices": [{"delta": {"content": piece}}]} for piece in text.split()]
            events = [*pieces, {"choices": [], "usage": {"completion_tokens": len(pieces)}}]
            lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
            self._send(200, "".join(lines).encode(), {"Content-Type": "text/event-stream"})

    return Handler
