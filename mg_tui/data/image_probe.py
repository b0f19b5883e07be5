"""Probe every distinct image once, on all cores, in bounded memory."""

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
    images: Iterable[ImageInput],
    resolver: ImageResolver,
    depth: ProbeDepth,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    info_cache: ImageInfoCache | None = None,
) -> Mapping[ImageInput, ProbeOutcome]:
    """Resolve each image and read it to the requested depth; the outcome of each, by the image.

    Args:
        images: as the dataset names them; repeats are probed once.
        depth: decode every pixel, read the header, or only require that the file exists.
        workers: threads; the cores this process may use when None. Decoders release the GIL.
        progress: called from this thread with (distinct images done, distinct images).
        info_cache: infos of earlier probes, so that unchanged files are not opened again.
    """
    distinct = list(dict.fromkeys(images))
    urls = [image for image in distinct if isinstance(image, str) and is_url(image)]
    files = [image for image in distinct if not (isinstance(image, str) and is_url(image))]
    outcomes: dict[ImageInput, ProbeOutcome] = {}
    cores = workers or usable_cores()

    def probe(image: ImageInput) -> ProbeOutcome:
        try:
            resolved = resolver.resolve(image)
        except ImageError as error:
            error.kind = "missing"
            return error
        return ImageProbe(resolved, None) if depth == "none" else _probe(resolved, depth, info_cache)

    for group, threads in ((files, cores), (urls, max(cores, _MAX_PARALLEL_DOWNLOADS))):
        for image, outcome in _map_in_threads(probe, group, threads):
            outcomes[image] = outcome
            done = len(outcomes)
            if progress is not None and (done % 16 == 0 or done == len(distinct)):
                progress(done, len(distinct))
    return outcomes


def _probe(resolved: ResolvedImage, depth: ProbeDepth, info_cache: ImageInfoCache | None) -> ProbeOutcome:
    path, decode = resolved.ref.path, depth == "decode"
    info = info_cache.get(path, decoded=decode) if info_cache is not None else None
    if info is not None:
        return ImageProbe(resolved, info)
    try:
        info = verify_image(path) if decode else probe_image(path)
    except ImageError as error:
        return error
    if info_cache is not None:
        info_cache.put(path, info, decoded=decode)
    return ImageProbe(resolved, info)


def _map_in_threads(
    probe: Callable[[ImageInput], ProbeOutcome], images: Sequence[ImageInput], threads: int
) -> Iterator[tuple[ImageInput, ProbeOutcome]]:
    """Results as they complete; few tasks are queued at a time, so that an interrupt takes effect at once."""
    remaining = iter(images)
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        running: dict[Future[ProbeOutcome], ImageInput] = {}
        try:
            while True:
                for image in islice(remaining, 4 * threads - len(running)):
                    running[pool.submit(probe, image)] = image
                if not running:
                    return
                done, _waiting = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
