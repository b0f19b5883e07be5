"""A server from its spec to its end: engine, address, proof, and the status that is written until it is stopped."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mg_tui.core.errors import RunFailed
from mg_tui.core.files import write_atomic
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.serving.app import ServedState, create_app
from mg_tui.engine.serving.engines import StartedEngine, start_engine
from mg_tui.engine.serving.image_store import ImageStore
from mg_tui.engine.serving.listening import (
    ListeningThread,
    call_on_loopback,
    limits_for,
    require_free_port,
)
from mg_tui.engine.serving.proof import ExpectedAnswers, describe_proof, prove
from mg_tui.engine.serving.statistics import ServingStatistics
from mg_tui.preflight.serving import listener_of
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.servers import STATUS_SECONDS, ServerFolder

_POLL_SECONDS = 0.2


class ServeJob:
    """One server, once.

    Attributes:
        requests: answered so far.
    """

    def __init__(
        self,
        folder: ServerFolder,
        journal: JournalWriter,
        stopper: StopHandler,
        *,
        cwd: Path,
        home: Path,
        cache: Path,
    ):
        self.folder = folder
        self.requests = 0
        self._journal, self._stopper = journal, stopper
        self._cwd, self._home, self._cache = cwd, home, cache

    def describe_stop(self) -> dict[str, Any]:
        """What it answered; for `stopped`."""
        return {"requests": self.requests}

    def run(self) -> dict[str, Any]:
        """Serve until a stop is requested; it does not end otherwise.

        Raises:
            GardenError: what is wrong, for a person.
            StopRequested: somebody asked it to stop.
        """
        spec = self.folder.read_serve_spec()
        listener = listener_of(spec)
        require_free_port(listener)
        started = start_engine(
            spec,
            folder=self.folder,
            stopper=self._stopper,
            phase=self._phase,
            cwd=self._cwd,
            home=self._home,
            cache=self._cache,
            note=self._note,
            bounds=read_caller_bounds(self.folder.path),
        )
        images = ImageStore(urls=spec.image_urls == "public")
        try:
            statistics = ServingStatistics(started.engine)
            state = ServedState(
                started.engine, images, statistics, started.base, spec.max_new_tokens, spec.timeout, proofs={}
            )
            app = create_app(state)
            self._phase("listening")
            http = ListeningThread(app, self._home, listener, limits_for(spec))
            try:
                url = http.start()
                facts = {"url": f"{url}/v1", "models": list(started.engine.names), "engine": started.kind}
                self._journal.write("serving", **facts, base=started.base)
                self._write_status(statistics, facts, state.proofs)

                def prove_all(address: str) -> None:
                    self._prove(started.expected, f"{address}/v1", state.proofs)

                if started.expected:
                    call_on_loopback(app, self._home, listener, url, limits_for(spec), prove_all)
                self._phase("serving")
                self._serve(started, http, statistics, facts, state.proofs)
            finally:
                http.stop()
        finally:
            started.engine.close()
            images.close()

    def _prove(self, expected: Sequence[ExpectedAnswers], url: str, proofs: dict[str, Any]) -> None:
        self._phase("comparing with the trained model")
        for each in expected:
            self._poll()
            record = prove(each, url)
            self._journal.write("proof", **record)
            proofs[each.model] = {name: record.get(name) for name in ("outcome", "rows", "alike", "source", "why")}
            if record["outcome"] == "different":
                self._journal.write("warning", what=describe_proof(record), hint="see `model-garden verify`")

    def _serve(
        self,
        started: StartedEngine,
        http: ListeningThread,
        statistics: ServingStatistics,
        facts: dict[str, Any],
        proofs: dict[str, Any],
    ) -> NoReturn:
        next_status = 0.0
        try:
            while True:
                self._poll()
                if (problem := started.engine.problem()) is not None:
                    raise RunFailed("The engine has ended.", where=str(self.folder.log_file), why=problem)
                if not http.alive:
                    raise RunFailed("The server does not listen any more.", why=repr(http.error))
                if time.monotonic() >= next_status:
                    next_status = time.monotonic() + STATUS_SECONDS
                    self._write_status(statistics, facts, proofs)
                time.sleep(_POLL_SECONDS)
        finally:
            self.requests = statistics.requests
            self._write_status(statistics, facts, proofs)

    def _write_status(self, statistics: ServingStatistics, facts: dict[str, Any], proofs: dict[str, Any]) -> None:
        values = {**facts, **statistics.as_dict(), "proof": proofs, "written": round(time.time(), 3)}
        try:
            write_atomic(self.folder.status_file, (json.dumps(values, ensure_ascii=False) + "\n").encode())
        except OSError as error:  # a full disk is no reason to stop answering
            self._note(f"the status cannot be written: {error.strerror}")

    def _poll(self) -> None:
        self._stopper.poll(raise_on="stop")

    def _phase(self, name: str, detail: str | None = None) -> None:
        self._poll()
        self._journal.write("phase", name=name, detail=detail)

    def _note(self, what: str) -> None:
        self._journal.write("warning", what=what)
