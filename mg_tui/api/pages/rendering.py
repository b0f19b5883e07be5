"""The templates, and the headers of pages: the policy allows the page's own style and script by hash, and no others."""

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import Response

from mg_tui.metrics.report import STYLE_FILE

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page as an answer; `values` are those of the template, and escaped there."""
    style, script, policy = _parts()
    text = _environment().get_template(template).render(style=style, script=script, **values)
    headers = {
        "Content-Security-Policy": policy,
        # With `no-referrer` a browser hides the origin of the form to sign in, which the gate looks at.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return Response(text.encode("utf-8", "backslashreplace"), status, headers, media_type="text/html")


@functools.cache
def _parts() -> tuple[str, str, str]:
    style = STYLE_FILE.read_text(encoding="utf-8") + (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return style, script, _POLICY.format(script=_sha256(script), style=_sha256(style))


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 50 ms, for the first page only

    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
