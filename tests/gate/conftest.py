"""A gate around a small application, called without a network."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mg_tui.gate import AccessRule, AuditLog, Gate, GateLimits, Listener, TokenStore

RULES = (
    AccessRule("GET", "/things", "read"),
    AccessRule("GET", "/things/{id}", "read"),
    AccessRule("POST", "/things", "run"),
    AccessRule("DELETE", "/things/{id}", "admin"),
    AccessRule("GET", "/things/{id}/events", "read", follower=True),
    AccessRule("POST", "/v1/files", "run", content_type="multipart/form-data", max_body=4_000_000),
    AccessRule("GET", "/broken", "read"),
    AccessRule("GET", "/half", "read"),
)


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def small_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was called with; `reached` is what tests look for."""
    if scope["path"] == "/broken":
        raise ValueError("a secret of /home/somebody at 0x7f00")
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    caller = scope.get("garden.caller")
    values = {"reached": True, "method": scope["method"], "bytes": len(body), "caller": caller and caller.name}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    if scope["path"] == "/half":
        raise ValueError("after the beginning")
    await send({"type": "http.response.body", "body": json.dumps(values).encode()})


class Client:
    """Calls a gate as a server would."""

    def __init__(self, gate: Gate):
        self.gate = gate

    def __call__(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        host: str | None = "localhost:8000",
        body: bytes | Sequence[bytes] = b"",
        raw_path: bytes | None = None,
        query: bytes = b"",
        client: tuple[str, int] | None = ("127.0.0.1", 40000),
        kind: str = "http",
        stall: bool = False,
    ) -> Answer:
        return asyncio.run(self._call(method, path, token, headers, host, body, raw_path, query, client, kind, stall))

    async def _call(self, method, path, token, headers, host, body, raw_path, query, client, kind, stall) -> Answer:
        chunks = [body] if isinstance(body, bytes) else list(body)
        listed = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        if host is not None:
            listed.insert(0, (b"host", host.encode("latin-1")))
        if token is not None:
            listed.append((b"authorization", f"Bearer {token}".encode("latin-1")))
        names = {name for name, _ in listed}
        if isinstance(body, bytes) and body and b"content-length" not in names:
            listed.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": kind,
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8", "surrogateescape") if raw_path is None else raw_path,
            "query_string": query,
            "headers": listed,
            "client": client,
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
        }
        messages = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        if stall:
            messages[-1]["more_body"] = True
        answer = Answer()

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            if stall:
                await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert not answer.status, "answered twice"
                answer.status = message["status"]
                answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            elif message["type"] == "websocket.close":
                answer.status = message["code"]
            else:
                answer.body += message.get("body", b"")
                answer.parts.append(message.get("body", b""))

        await self.gate(scope, receive, send)
        return answer


MakeClient = Callable[..., Client]


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "home")


@pytest.fixture
def make_client(store: TokenStore) -> MakeClient:
    """A client of a gate: behind a proxy (a token is always needed) by default."""

    def make(
        *,
        app: Any = small_app,
        listener: Listener | None = None,
        limits: GateLimits | None = None,
        same_user: bool | None = False,
        rules: Sequence[AccessRule] = RULES,
        **more: Any,
    ) -> Client:
        gate = Gate(
            app,
            rules=rules,
            tokens=store,
            listener=listener or Listener(behind_proxy=True),
            limits=limits or GateLimits(failure_burst=10_000),
            audit=AuditLog(store.home),
            openai_paths=("/v1/",),
            same_user=lambda _client, _server: bool(same_user),
            **more,
        )
        return Client(gate)

    return make
