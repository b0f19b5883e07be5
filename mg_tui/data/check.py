"""Look at every distinct image once, on all cores, in bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from mg_tui.data.images import ImageError, ImageInfo, probe_image, verify_image
from mg_tui.data.resolve import ImageResolver, Located, is_address

CheckDepth = Literal["decode", "header", "none"]

# Downloads and network disks wait more than they compute.
_DOWNLOADS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """An image that can be used; `info` is None when it was not opened."""

    located: Located
    info: ImageInfo | None


Outcome = Found | ImageError


def check_images(
    given: Iterable[str],
    resolver: ImageResolver,
    depth: CheckDepth,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, Outcome]:
    """Find, and as deep as asked open, each image; what each text led to.

    Args:
        given: images as the dataset names them; repeats are looked at once.
        depth: decode every pixel, read the header, or only see that the file is there.
        workers: threads; the cores this process may use when left out. Decoders leave Python free meanwhile.
        progress: called from this thread with (images done, images).
    """
    wanted = list(dict.fromkeys(given))
    addresses = [text for text in wanted if is_address(text)]
    files = [text for text in wanted if not is_address(text)]
    outcomes: dict[str, Outcome] = {}
    cores = workers or usable_cores()

    def look(text: str) -> Outcome:
        try:
            located = resolver.locate(text)
            if depth == "none":
                return Found(located, None)
            see = verify_image if depth == "decode" else probe_image
            return Found(located, see(located.ref.path))
        except ImageError as error:
            return error

    for texts, threads in ((files, cores), (addresses, max(cores, _DOWNLOADS_AT_ONCE))):
        for text, outcome in _in_threads(look, texts, threads):
            outcomes[text] = outcome
            done = len(outcomes)
            if progress is not None and (done % 16 == 0 or done == len(wanted)):
                progress(done, len(wanted))
    return outcomes


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _in_threads(look: Callable[[str], Outcome], texts: Sequence[str], threads: int) -> Iterator[tuple[str, Outcome]]:
    """Results as they come, with never more than a few tasks waiting: an interrupt is obeyed at once."""
    remaining = iter(texts)
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        running: dict[Future[Outcome], str] = {}
        try:
            while True:
                for text in islice(remaining, 4 * threads - len(running)):
                    running[pool.submit(look, text)] = text
                if not running:
                    return
                done, _waiting = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
