"""Whether the Hugging Face Hub answers, and what its token may do."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.doctor.findings import MachineFinding

_TIMEOUT: Final = 1.5  # seconds


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """What the Hub said. `status`: of HTTP; None without an answer. `error`: why there was none. `time`: its clock."""

    status: int | None = None
    account: Any = None
    error: str | None = None
    time: float | None = None
    token: bool = False


class HubQuestion:
    """Asks the Hub who its token belongs to, in a thread of its own from its creation on; `answer` waits for it."""

    def __init__(self, timeout: float = _TIMEOUT):
        self._answer = HubAnswer(error=f"no answer within {timeout:g} s")
        self._timeout = timeout
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(target=self._ask, name="hub", daemon=True)  # name resolution has no timeout
        self._thread.start()

    def answer(self) -> HubAnswer:
        """The answer, at most `timeout` seconds after the question."""
        self._thread.join(max(self._timeout + 0.2 - (time.monotonic() - self._asked_at), 0.0))
        return self._answer

    def _ask(self) -> None:
        import httpx

        from mg_tui.families import hub

        if hub.is_offline():
            return
        token = _read_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = httpx.get(f"{hub.endpoint()}/api/whoami-v2", headers=headers, timeout=self._timeout)
            account = response.json() if response.status_code == 200 else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._answer = HubAnswer(error=one_line(str(error) or type(error).__name__, limit=200), token=bool(token))
            return
        self._answer = HubAnswer(
            response.status_code, account, None, _read_date(response.headers.get("date")), bool(token)
        )


def check_hub(answer: HubAnswer) -> Iterator[MachineFinding]:
    """Reachability, and the rights of the token."""
    from mg_tui.families import hub

    subject, address = "Hugging Face Hub", hub.endpoint()
    if hub.is_offline():
        text = "not asked: HF_HUB_OFFLINE is set; only models that are in the cache or in folders are used"
        yield MachineFinding("hub", subject, "ok", text)
        return
    if answer.status is None:
        hint = "check network and proxy (HTTPS_PROXY), or name a mirror in HF_ENDPOINT; models in the cache still work"
        yield MachineFinding("hub", subject, "warning", f"{address} cannot be reached: {answer.error}", hint)
        return
    if answer.status >= 500:
        text = f"{address} answers with an error (HTTP {answer.status})"
        yield MachineFinding("hub", subject, "warning", text, "try again later: https://status.huggingface.co")
        return
    if not answer.token:
        hint = "private and gated models and `push` need one: hf auth login, or HF_TOKEN"
        yield MachineFinding("hub", subject, "ok", f"{address} answers; no token ({hint})")
        return
    if answer.status in (401, 403):
        text = f"{address} does not accept the token (HTTP {answer.status})"
        yield MachineFinding("hub", subject, "problem", text, "hf auth login, or correct HF_TOKEN")
        return
    name, role = _describe_account(answer.account)
    may = {
        "read": "may read, and not push",
        "write": "may read and push",
        "fineGrained": "may do what it was made for; `push` says when that is not enough",
    }.get(role, f"has the role {one_line(role) or 'unknown'}")
    yield MachineFinding("hub", subject, "ok", f"{address} answers; the token of {name} {may}")


def _describe_account(account: Any) -> tuple[str, str]:
    record = account if isinstance(account, dict) else {}
    auth = record.get("auth")
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    return one_line(str(record.get("name", "?")), limit=60), str((token or {}).get("role", ""))


def _read_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _read_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError):
        return None
