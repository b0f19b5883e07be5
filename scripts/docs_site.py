"""A hook of mkdocs: links to files outside docs/ become plain text.

The pages are read in the repository too, where such links work; the site has no copy of those files. That they exist is
tested by `tests/test_docs.py`.
"""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page; decision records are one level deeper, so their `../` stays inside docs/."""
    if page.file.src_uri.startswith("decisions/"):
        return markdown
    return _OUTSIDE.sub(r"\1", markdown)
