"""What OpenAI's chat completions look like: addresses, answers, and what a status or a header asks for."""

import ipaddress
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mg_tui.core.text import one_line

if TYPE_CHECKING:
    import httpx

# Busy or restarting: another attempt may succeed. 408 by RFC 9110, 425 by RFC 8470; some overloaded servers say 529.
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
# About what was asked, not about who asked: too long for the model, or an image it does not take.
REFUSED_ROWS: Final = frozenset({400, 413, 422})
_PATH: Final = "/chat/completions"


class BadAnswer(Exception):
    """An answer that is not a chat completion; the text says what it is."""


def chat_url(endpoint: str) -> str:
    """The address of chat completions: below the API's, whether or not that ends in /v1."""
    base = endpoint.rstrip("/")
    if base.endswith(_PATH):
        return base
    return base + _PATH if urlsplit(base).path.rstrip("/") else f"{base}/v1{_PATH}"


def models_url(endpoint: str) -> str:
    """The address of the list of models."""
    return chat_url(endpoint).removesuffix(_PATH) + "/models"


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def parse_answer(response: "httpx.Response") -> tuple[str, dict[str, Any]]:
    """The text of an answer, and how many tokens it has and why it ended, where that is said.

    Raises:
        BadAnswer: it is no chat completion.
    """
    try:
        record = response.json()
    except ValueError:
        kind = response.headers.get("content-type", "no content type")
        raise BadAnswer(f"not JSON ({one_line(kind, limit=60)}): {one_line(response.text, limit=120)}") from None
    try:
        choice = record["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise BadAnswer(f"no choices: {one_line(response.text, limit=160)}") from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise BadAnswer(f"its content is no text: {one_line(response.text, limit=160)}")
    usage = record.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    facts = {"tokens": tokens, "ended": choice.get("finish_reason")}
    return content or "", {name: value for name, value in facts.items() if value is not None}


def retry_after(response: "httpx.Response", now: float | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date (RFC 9110, 10.2.3); None without one."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now), 0.0)
    except (ValueError, TypeError):
        return None


def server_message(response: "httpx.Response") -> str:
    """What a server says of an error, on one line."""
    try:
        record = response.json()
        error = record.get("error", record.get("detail", record.get("message")))
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = None
    return one_line(str(message or response.text or response.reason_phrase), limit=240)
