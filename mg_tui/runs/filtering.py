"""Filters of runs: words, as they are typed after `/` in the dashboard and given to `runs list --filter`."""

from collections.abc import Collection


def matches_filter(query: str, text: str, tags: Collection[str] = ()) -> bool:
    """Whether a run matches a filter: every word is in `text`; case does not matter.

    `#word` is a tag that the run has, and a word after `-` is one that it must not match: `receipts #good -failed`.
    """
    text, known = text.casefold(), {tag.casefold() for tag in tags}

    def is_there(word: str) -> bool:
        return word[1:] in known if len(word) > 1 and word.startswith("#") else word in text

    for word in query.casefold().split():
        excluded = len(word) > 1 and word.startswith("-")
        if is_there(word.removeprefix("-") if excluded else word) is excluded:
            return False
    return True
