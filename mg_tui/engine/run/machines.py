"""What the machines of a run tell each other beside the training: how their ranks are, and which was lost.

The first rank of each machine puts the notes of its machine's ranks into the store every two seconds, and writes those
of the others into its own run folder, where everything that shows ranks finds them. A machine that is no longer heard,
because it ended or because the cable was pulled, is noted as lost, and the connections to it are shut down: otherwise a
sum would wait for it forever.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mg_tui.engine.layout.partition import World
from mg_tui.engine.run.rank_supervisor import STORE_ENV
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.ranks import LostRank, NoteWriter, RankNote, RankNotes

_BEAT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5  # in which the store has to answer
_BREAK_AGAIN_SECONDS: Final = 2.0


class MachineWatch:
    """Two threads of the first rank of a machine: one talks, one watches for silence.

    Args:
        folder: the run's, on this machine.
        world: this process among the others.
        timeout: seconds without a word after which a machine is lost.
    """

    def __init__(self, folder: RunFolder, world: World, timeout: float):
        self._notes = RankNotes(folder.path)
        self._world, self._timeout = world, timeout
        self._machine, self._machines = world.rank // world.local_size, world.size // world.local_size
        self._heard = dict.fromkeys(range(self._machines), time.monotonic())
        self._words: dict[int, bytes] = {}
        self._writers: dict[int, NoteWriter] = {}
        self._ended = threading.Event()
        self._talk = threading.Thread(target=self._exchange_words, name="machines", daemon=True)
        self._watch = threading.Thread(target=self._watch_others, name="machine watch", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._heard = dict.fromkeys(self._heard, time.monotonic())
        self._talk.start()
        self._watch.start()

    def stop(self) -> None:
        """Stop watching. The store is not waited for: it may be on a machine that does not answer."""
        self._ended.set()
        self._watch.join()

    def _exchange_words(self) -> None:
        store = None
        while not self._ended.wait(_BEAT_SECONDS):
            try:
                store = store or _connect(self._world)
                self._exchange(store)
            except (RuntimeError, OSError, ValueError) as error:
                sys.stderr.write(f"machines: {str(error).splitlines()[0]}\n")
                store = None

    def _watch_others(self) -> None:
        """Apart from the exchange, which waits for as long as a pulled cable says nothing."""
        while not self._ended.wait(_BEAT_SECONDS):
            if (lost := self._find_lost()) is not None:
                sys.stderr.write(f"training process {lost.rank} {lost.how}\n")
                self._notes.write_lost(lost)
                while not self._ended.wait(_BREAK_AGAIN_SECONDS):
                    break_connections()

    def _exchange(self, store: Any) -> None:
        first = self._world.rank
        own = [self._notes.read(first + local) for local in range(self._world.local_size)]
        word = {"at": time.time(), "notes": [note.as_record() for note in own if note is not None]}
        if (lost := self._notes.read_lost()) is not None:
            word["lost"] = lost.as_record()
        store.set(f"machine/{self._machine}", json.dumps(word).encode())
        for machine in self._others():
            if store.check([f"machine/{machine}"]):
                self._hear(machine, store.get(f"machine/{machine}"))

    def _others(self) -> Iterator[int]:
        """The machines this one listens to: machine 0 to all, the others to machine 0, which hears of everything."""
        for machine in range(self._machines) if self._machine == 0 else (0,):
            if machine != self._machine:
                yield machine

    def _hear(self, machine: int, word: bytes) -> None:
        if self._words.get(machine) == word:
            return
        self._words[machine], self._heard[machine] = word, time.monotonic()
        record = json.loads(word)
        for item in record.get("notes", ()):
            note = RankNote.from_record(item)
            self._writers.setdefault(note.rank, NoteWriter(self._notes.path(note.rank))).write(note)
        if (lost := record.get("lost")) and self._notes.read_lost() is None:
            known = LostRank(int(lost["rank"]), str(lost["how"]), RankNote.from_record(lost["note"]), lost["error"])
            self._notes.write_lost(known)

    def _find_lost(self) -> LostRank | None:
        now = time.monotonic()
        for machine in self._others():
            silent = now - self._heard[machine]
            if silent > self._timeout and self._notes.read_lost() is None:
                rank = machine * self._world.local_size
                note = self._notes.read(rank) or RankNote(rank)
                where = f" ({note.host})" if note.host else ""
                return LostRank(rank, f"on machine {machine}{where} was not heard for {silent:.0f} s", note)
        return None


def _connect(world: World) -> Any:
    """A connection to the store of its own: that of the process group may be waiting."""
    import torch.distributed as dist

    host, _, port = os.environ[STORE_ENV].rpartition(":")
    patience = timedelta(seconds=_ANSWER_SECONDS)
    return dist.TCPStore(host, int(port), world.size, is_master=False, timeout=patience, wait_for_workers=False)


def break_connections() -> int:
    """Shut down this process's TCP connections to other machines; returns their number.

    Gloo then reports a closed connection wherever it waits; a cable that was pulled closes none.
    """
    broken = 0
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError, ValueError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6) and _is_remote(connection):
                    connection.shutdown(socket.SHUT_RDWR)
                    broken += 1
    return broken


def _is_remote(connection: socket.socket) -> bool:
    peer, own = connection.getpeername()[0], connection.getsockname()[0]
    return bool(peer != own and not peer.startswith(("127.", "::1", "::ffff:127.")))
