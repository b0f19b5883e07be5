"""An evaluation, or a comparison of two, as one HTML file to send to a colleague.

The file loads nothing: images are small JPEGs inside it, there is no script, and a Content-Security-Policy forbids both
to whatever a dataset or a model may have written. All text is escaped, and control characters are made visible.
"""

import base64
import hashlib
from pathlib import Path

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.metrics.registry import MetricRegistry
from mg_tui.metrics.report.content import Content, Limits, build
from mg_tui.metrics.results.files import write_bytes
from mg_tui.metrics.results.reading import Results

__all__ = ["STYLE_FILE", "Content", "Limits", "render", "write_report"]

_HERE = Path(__file__).parent
STYLE_FILE = _HERE / "style.css"  # other pages of this program begin with it


def write_report(
    path: Path,
    results: Results,
    *,
    registry: MetricRegistry,
    before: Results | None = None,
    title: str = "",
    limits: Limits | None = None,
) -> None:
    """Write the report of `results`, compared with `before` where it is given.

    Args:
        path: the file; its folder is made.
        registry: for the comparison, which is computed from the answers.
        title: a heading; else the name of the model.
        limits: how many rows and how many bytes of images.

    Raises:
        UsageError: the two evaluations cannot be compared.
        EnvironmentProblem: the file cannot be written.
    """
    text = render(build(results, before, registry, title=title, limits=limits or Limits()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())
    except OSError as error:
        raise EnvironmentProblem("the report cannot be written", where=str(path), why=error.strerror) from None


def render(content: Content) -> str:
    """The HTML of a report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = STYLE_FILE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(report=content, style=style, digest=digest)
