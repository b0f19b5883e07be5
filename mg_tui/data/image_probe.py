"""Look at every distinct image once, on all cores, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from mg_tui.data.embedded_images import ImageInput
from mg_tui.data.image_info_cache import ImageInfoCache
from mg_tui.data.image_resolver import ImageResolver, ResolvedImage, is_url
from mg_tui.data.images import ImageError, ImageInfo, probe_image, verify_image
from mg_tui.hardware.host import usable_cores

ProbeDepth = Literal["decode", "header", "none"]

# Downloads and network disks wait more than they compute.
_MAX_PARALLEL_DOWNLOADS: Final = 8


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """An image that can be used; `info` is None when it was not opened."""

    resolved: ResolvedImage
    info: ImageInfo | None


ProbeOutcome = ImageProbe | ImageError


def probe_images(
    given: Iterable[ImageInput],
    resolver: ImageResolver,
    depth: ProbeDepth,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    looks: ImageInfoCache | None = None,
) -> Mapping[ImageInput, ProbeOutcome]:
    """Find, and as deep as asked open, each image; what each text led to.

    Args:
        given: images as the dataset names them; repeats are looked at once.
        depth: decode every pixel, read the header, or only see that the file is there.
        workers: threads; the cores this process may use when left out. Decoders leave Python free meanwhile.
        progress: called from this thread with (images done, images).
        looks: what was seen before, so that files which have not changed need not be opened again.
    """
    wanted = list(dict.fromkeys(given))
    addresses = [text for text in wanted if isinstance(text, str) and is_url(text)]
    files = [text for text in wanted if not (isinstance(text, str) and is_url(text))]
    outcomes: dict[ImageInput, ProbeOutcome] = {}
    cores = workers or usable_cores()

    def look(text: ImageInput) -> ProbeOutcome:
        try:
            located = resolver.locate(text)
        except ImageError as error:
            error.kind = "missing"
            return error
        return ImageProbe(located, None) if depth == "none" else _probe(located, depth, looks)

    for texts, threads in ((files, cores), (addresses, max(cores, _MAX_PARALLEL_DOWNLOADS))):
        for text, outcome in _map_in_threads(look, texts, threads):
            outcomes[text] = outcome
            done = len(outcomes)
            if progress is not None and (done % 16 == 0 or done == len(wanted)):
                progress(done, len(wanted))
    return outcomes


def _probe(located: ResolvedImage, depth: ProbeDepth, looks: ImageInfoCache | None) -> ProbeOutcome:
    path, decode = located.ref.path, depth == "decode"
    info = looks.get(path, decoded=decode) if looks is not None else None
    if info is not None:
        return ImageProbe(located, info)
    try:
        info = verify_image(path) if decode else probe_image(path)
    except ImageError as error:
        return error
    if looks is not None:
        looks.put(path, info, decoded=decode)
    return ImageProbe(located, info)


def _map_in_threads(
    look: Callable[[ImageInput], ProbeOutcome], texts: Sequence[ImageInput], threads: int
) -> Iterator[tuple[ImageInput, ProbeOutcome]]:
    """Results as they come, with never more than a few tasks waiting: an interrupt is obeyed at once."""
    remaining = iter(texts)
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        running: dict[Future[ProbeOutcome], ImageInput] = {}
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
