"""Tokens of callers: several by name, each with a scope and an optional expiry, kept as hashes.

`<home>/tokens.json` is written with mode 0600 and holds SHA-256 digests: a token has 256 random bits, so a slow hash
would add nothing. The token itself is shown once, when it is made. A running server reads the file again whenever it
changes, so a token that is revoked is refused at once.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.text import did_you_mean
from mg_tui.runs.lock import flock_exclusive

Scope = Literal["read", "run", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)  # each includes those before it

TOKENS_FILE: Final = "tokens.json"
FIRST_TOKEN_FILE: Final = "first-token"
TOKEN_PREFIX: Final = "mg_"
_LOCK_FILE: Final = "tokens.lock"
_LOCK_TIMEOUT: Final = 10.0  # seconds
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_TOKEN_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token without its secret: name, scope, the secret's digest, and when it was made and expires (Unix time)."""

    name: str
    scope: Scope
    sha256: str
    created_at: float
    expires_at: float | None = None

    def is_expired(self, now: float) -> bool:
        """Whether it is no longer accepted."""
        return self.expires_at is not None and now >= self.expires_at


def includes(scope: Scope, needed: Scope) -> bool:
    """Whether a scope allows what another one is needed for."""
    return SCOPES.index(scope) >= SCOPES.index(needed)


class TokenStore:
    """The tokens of a home folder. Thread-safe."""

    def __init__(self, home: Path):
        self.home = home
        self.file = home / TOKENS_FILE
        self._lock = threading.Lock()
        self._read_as: tuple[int, int, int] | None = None
        self._tokens: tuple[AccessToken, ...] = ()

    def tokens(self) -> tuple[AccessToken, ...]:
        """Every token, in the order of creation; read again only when the file changed.

        Raises:
            EnvironmentProblem: the file cannot be read, is damaged, or others may read or change it.
        """
        with self._lock:
            try:
                status = self.file.stat()
            except FileNotFoundError:
                self._read_as, self._tokens = None, ()
                return ()
            except OSError as error:
                raise self._unreadable(error.strerror) from error
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._read_as:
                self._require_private(status)
                self._tokens = self._read()
                self._read_as = seen
            return self._tokens

    def find(self, secret: str) -> AccessToken | None:
        """The token with this secret, expired or not; None when there is none. Compares in constant time.

        Raises:
            EnvironmentProblem: as `tokens`.
        """
        digest = _digest(secret) if len(secret) <= _MAX_TOKEN_CHARACTERS else ""
        found = None
        for token in self.tokens():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def create(self, name: str, scope: Scope, *, expires_in: float | None = None) -> str:
        """Make a token and return its secret, which is not kept. `expires_in`: seconds.

        Raises:
            UsageError: the name is taken or not a name.
            EnvironmentProblem: the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"token name: got {name!r}; give up to 64 letters, digits, dots, dashes and underscores",
                hint="model-garden tokens create laptop",
            )
        secret, now = TOKEN_PREFIX + secrets.token_urlsafe(32), time.time()
        expires_at = None if expires_in is None else now + expires_in
        with self._changing():
            tokens = self.tokens()
            if any(token.name == name for token in tokens):
                raise UsageError(
                    f"There is a token {name!r} already.", hint=f"model-garden tokens revoke {name}, or another name"
                )
            self._write((*tokens, AccessToken(name, scope, _digest(secret), now, expires_at)))
        return secret

    def revoke(self, name: str) -> AccessToken:
        """Remove a token; running servers refuse it from their next request on.

        Raises:
            UsageError: there is none of this name.
            EnvironmentProblem: the file cannot be written.
        """
        with self._changing():
            tokens = self.tokens()
            gone = next((token for token in tokens if token.name == name), None)
            if gone is None:
                names = [token.name for token in tokens]
                raise UsageError(f"There is no token {name!r}{did_you_mean(name, names)}", hint="model-garden tokens")
            self._write(tuple(token for token in tokens if token is not gone))
        if name == "first":
            with contextlib.suppress(OSError):
                (self.home / FIRST_TOKEN_FILE).unlink()
        return gone

    def make_first(self) -> Path | None:
        """Make the token `first` with scope admin when there is no token yet; returns the file that holds its secret.

        The secret goes to a file of mode 0600 and never to a log, where a container would keep it.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        if self.tokens():
            return None
        secret = self.create("first", "admin")
        file = self.home / FIRST_TOKEN_FILE
        try:
            write_atomic(file, (secret + "\n").encode(), mode=0o600)
        except OSError as error:
            raise EnvironmentProblem("Cannot write the first token.", where=str(file), why=error.strerror) from error
        return file

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        path = self.home / _LOCK_FILE
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentProblem("Cannot lock the tokens.", where=str(path), why=error.strerror) from error
        try:
            if not flock_exclusive(fd, path, timeout=_LOCK_TIMEOUT):
                raise EnvironmentProblem(
                    "Cannot lock the tokens.", where=str(path), why="another process holds the lock"
                )
            yield
        finally:
            os.close(fd)

    def _write(self, tokens: tuple[AccessToken, ...]) -> None:
        text = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1) + "\n"
        try:
            write_atomic(self.file, text.encode(), mode=0o600)
        except OSError as error:
            raise EnvironmentProblem("Cannot write the tokens.", where=str(self.file), why=error.strerror) from error

    def _read(self) -> tuple[AccessToken, ...]:
        try:
            records = json.loads(self.file.read_bytes())["tokens"]
            return tuple(_token_from(record) for record in records)
        except OSError as error:
            raise self._unreadable(error.strerror) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._unreadable(f"it is damaged: {error}") from error

    def _require_private(self, status: os.stat_result) -> None:
        if status.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(status.st_mode) & 0o077:
            raise EnvironmentProblem(
                "The tokens are not private.",
                where=str(self.file),
                why="others may read or change them",
                hint=f"chmod 600 {self.file}",
            )

    def _unreadable(self, why: str | None) -> EnvironmentProblem:
        return EnvironmentProblem("Cannot read the tokens.", where=str(self.file), why=why)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _token_from(record: dict[str, Any]) -> AccessToken:
    if record["scope"] not in SCOPES:
        raise ValueError(f"unknown scope {record['scope']!r}")
    expires_at = record.get("expires_at")
    return AccessToken(
        str(record["name"]),
        record["scope"],
        str(record["sha256"]),
        float(record["created_at"]),
        None if expires_at is None else float(expires_at),
    )
