"""The audit log: one JSON line for every request that changes something, allowed or refused."""

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

AUDIT_FILE: Final = "audit.jsonl"
_MAX_BYTES: Final = 8 << 20  # then it is renamed, over the previous one


class AuditLog:
    """Appends to `<home>/audit.jsonl`, mode 0600. Never holds a token, a body or an answer."""

    def __init__(self, home: Path, file_name: str = AUDIT_FILE):
        self.file = home / file_name
        self._lock = threading.Lock()

    def write(self, **values: Any) -> None:
        """Append a line. A disk that is full stops no request: the journal of the run has the change as well."""
        line = json.dumps({"t": round(time.time(), 3), **values}, ensure_ascii=True) + "\n"
        with self._lock, contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode("ascii"))
                if os.fstat(fd).st_size > _MAX_BYTES:
                    self.file.replace(self.file.with_name(self.file.name + ".1"))
            finally:
                os.close(fd)
