"""Jobs of lists as JSON: most of them have ended, and are encoded once."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from fastapi.responses import JSONResponse, Response

from mg_tui.runs.store import RunSummary

_KEPT: Final = 4096  # about a kilobyte each


class ListedJobs:
    """The JSON of jobs that have ended, by their summaries: these stay the same object until somebody writes into a
    run. Thread-safe.
    """

    def __init__(self, encode: Callable[[RunSummary, float], bytes]) -> None:
        """`encode` makes the JSON of a job in a list, at a time."""
        self._encode_now = encode
        self._lock = threading.Lock()
        self._encoded: OrderedDict[str, tuple[RunSummary, bytes]] = OrderedDict()

    def answer(self, page: Iterable[RunSummary], *, has_more: bool) -> Response:
        """The answer of a list: `list_body` of these jobs."""
        now = time.time()
        data = b",".join([self._encode(run, now) for run in page])
        more = b"true" if has_more else b"false"
        body = b'{"object":"list","data":[' + data + b'],"has_more":' + more + b"}"
        return Response(body, media_type=JSONResponse.media_type)

    def _encode(self, run: RunSummary, now: float) -> bytes:
        with self._lock:
            known = self._encoded.get(run.id)
            if known is not None and known[0] is run:
                self._encoded.move_to_end(run.id)
                return known[1]
        encoded = self._encode_now(run, now)
        if run.view.lifecycle in ("finished", "stopped", "failed"):
            with self._lock:
                self._encoded[run.id] = (run, encoded)
                while len(self._encoded) > _KEPT:
                    self._encoded.popitem(last=False)
        return encoded
