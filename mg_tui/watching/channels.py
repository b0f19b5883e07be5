"""Where messages go: ntfy and signed webhooks, which need nothing more, and everything that `apprise` knows.

ntfy://TOPIC                        a topic of ntfy.sh
ntfy://[TOKEN@|USER:PASSWORD@]HOST[:PORT]/TOPIC, ntfys://...    of another server, by http or https
https://HOST/PATH[#secret=KEY]      JSON; with a key signed: X-Model-Garden-Signature: sha256=HMAC of the body
tgram://..., slack://..., mailto://...                          by apprise (the extra `notify`)
"""

import hashlib
import hmac
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from mg_tui.core.errors import UsageError
from mg_tui.core.redaction import scrub, secrets_of
from mg_tui.core.text import one_line
from mg_tui.watching.messages import RunMessage

_TIMEOUT: Final = 15.0  # seconds for one message
_NTFY_CLOUD: Final = "https://ntfy.sh"
_NTFY_SCHEMES: Final = {"ntfy": "http", "ntfys": "https"}
_PRIORITY: Final = {True: 4, False: 3}  # of ntfy: high, default


class DeliveryFailed(Exception):
    """A message could not be delivered; `retry_after`: seconds that the server wants to wait, if it said so.

    `refused`: the server answered and does not want it (a wrong or expired address), which may not change.
    """

    def __init__(self, why: str, *, retry_after: float | None = None, refused: bool = False):
        super().__init__(why)
        self.why, self.retry_after, self.refused = why, retry_after, refused


class MessageChannel(Protocol):
    """One address that messages are sent to."""

    def send(self, message: RunMessage) -> None:
        """Send one message; raises DeliveryFailed."""


@dataclass(frozen=True, slots=True)
class HttpChannel:
    """A POST of JSON: to a webhook, or to an ntfy server if `topic` is set."""

    url: str
    topic: str | None = None
    authorization: str | None = None
    key: str | None = None

    def send(self, message: RunMessage) -> None:
        body = self._ntfy_body(message) if self.topic is not None else webhook_body(message)
        headers = {"Content-Type": "application/json", "User-Agent": "model-garden"}
        if self.authorization is not None:
            headers["Authorization"] = self.authorization
        if self.topic is None:
            headers |= webhook_headers(message, body, self.key)
        post(self.url, body, headers)

    def _ntfy_body(self, message: RunMessage) -> bytes:
        tag = "warning" if message.bad else "seedling"
        record = {
            "topic": self.topic,
            "title": message.title,
            "message": message.text,
            "priority": _PRIORITY[message.bad],
            "tags": [tag],
        }
        return json.dumps(record, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """An address that apprise knows."""

    url: str

    def send(self, message: RunMessage) -> None:
        import apprise

        target = apprise.Apprise()
        target.add(self.url)
        kind = apprise.NotifyType.WARNING if message.bad else apprise.NotifyType.INFO
        try:
            sent = target.notify(body=message.text, title=message.title, notify_type=kind)
        except Exception as error:  # of any of its hundred services
            raise DeliveryFailed(scrub(one_line(str(error), limit=200), secrets_of(self.url))) from None
        if not sent:
            raise DeliveryFailed("apprise could not deliver it")


def open_channel(url: str, label: str) -> MessageChannel:
    """The channel of an address.

    Raises:
        UsageError: it cannot be used; the message has the label in place of the address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"notify: {label} is not a URL", hint="e.g. ntfy://TOPIC or https://HOST/PATH") from None
    scheme = parts.scheme.lower()
    if scheme in _NTFY_SCHEMES:
        return _open_ntfy(url, label)
    if scheme in ("http", "https"):
        if not parts.hostname:
            raise UsageError(f"notify: {label} has no host")
        key = parse_qs(parts.fragment).get("secret", [None])[0]
        host = parts.hostname if port is None else f"{parts.hostname}:{port}"
        authorization = _authorization(parts.username, parts.password)
        return HttpChannel(urlunsplit((scheme, host, parts.path, parts.query, "")), None, authorization, key)
    if importlib.util.find_spec("apprise") is None:
        raise UsageError(
            f"notify: {label} needs apprise, which is not installed",
            hint="uv pip install 'model-garden-tui[notify]'; without it there are ntfy:// and https://",
        )
    import apprise

    if not apprise.Apprise().add(url):
        raise UsageError(f"notify: apprise does not know {label}", hint="https://appriseit.com lists its addresses")
    return AppriseChannel(url)


def _open_ntfy(url: str, label: str) -> HttpChannel:
    parts = urlsplit(url)
    path = unquote(parts.path.strip("/"))
    if not path and not parts.username and parts.port is None:  # the topic stands where others have a host
        topic, server = unquote(parts.netloc), _NTFY_CLOUD
    else:
        host = parts.hostname or ""
        topic, server = (
            path,
            f"{_NTFY_SCHEMES[parts.scheme.lower()]}://{host}" + (f":{parts.port}" if parts.port else ""),
        )
    if not topic or "/" in topic:
        raise UsageError(f"notify: {label} needs one topic", hint="e.g. ntfy://TOPIC or ntfys://HOST/TOPIC")
    return HttpChannel(server, topic, _authorization(parts.username, parts.password))


def _authorization(user: str | None, password: str | None) -> str | None:
    """The header for user and password, or for a token alone."""
    import base64

    if user is None:
        return None
    if password is None:
        return f"Bearer {unquote(user)}"
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def webhook_body(message: RunMessage) -> bytes:
    """The JSON of a webhook: version, key, event, title, text, Unix time, and the run's numbers."""
    from mg_tui.core.events import json_safe

    record = {"v": 1, **json_safe(message.as_dict()), "bad": message.bad}
    return json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()


def webhook_headers(message: RunMessage, body: bytes, key: str | None) -> Mapping[str, str]:
    """Event, an identifier that stays the same when a delivery is repeated, and the signature."""
    identifier = hashlib.sha256(f"{message.facts.get('run')} {message.key}".encode()).hexdigest()[:32]
    headers = {"X-Model-Garden-Event": message.event, "X-Model-Garden-Delivery": identifier}
    if key is not None:
        headers["X-Model-Garden-Signature"] = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    return headers


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST a body; redirections are not followed, since the address would then be another one.

    Raises:
        DeliveryFailed: no answer, or one that is not 2xx.
    """
    import httpx

    try:
        response = httpx.post(url, content=body, headers=dict(headers), timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        why = one_line(str(error) or type(error).__name__, limit=200)
        raise DeliveryFailed(scrub(why, secrets_of(url))) from None
    if response.is_success:
        return
    status = response.status_code
    refused = 300 <= status < 500 and status not in (408, 425, 429)
    text = {401: "not authorized", 403: "forbidden", 404: "not found", 410: "gone"}.get(status, response.reason_phrase)
    raise DeliveryFailed(f"HTTP {status} {text}".rstrip(), retry_after=_retry_after(response.headers), refused=refused)


def _retry_after(headers: Any) -> float | None:
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        import time

        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
