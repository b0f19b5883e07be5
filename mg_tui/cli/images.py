"""Images named on a command line: a path, or an address that is downloaded as those of datasets are."""

from pathlib import Path

from mg_tui.config import Settings


def resolve_image(given: str, settings: Settings) -> str:
    """The absolute path of an image, after a look at its header.

    Raises:
        ImageError: it is missing, no image, or its address is refused or cannot be downloaded.
        EnvironmentProblem: the cache cannot be written.
    """
    from mg_tui.data.image_resolver import is_url
    from mg_tui.data.images import ImageError, probe_image
    from mg_tui.data.row_problems import quote_text

    if not is_url(given):
        probe_image(given)
        return str(Path(given).absolute())
    from mg_tui.data.image_downloads import ImageDownloads

    try:
        return str(ImageDownloads(settings.cache).fetch(given))
    except ImageError as error:
        if error.what.startswith("the image "):  # downloads say what is wrong, not with which
            error.what = f"image {quote_text(given)} {error.reason}"
        raise
