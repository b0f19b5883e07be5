"""The peak of a process's resident size within a block; used in the environments of peers too."""

import threading

import psutil


class PeakMemory:
    """The largest resident size of this process within a block, in MiB above that at its start."""

    def __enter__(self) -> "PeakMemory":
        self._process = psutil.Process()
        self._before = self._peak = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self._peak = max(self._peak, self._process.memory_info().rss)

    @property
    def mib(self) -> float:
        """The difference."""
        return (self._peak - self._before) / 2**20
