"""Every kind of finding once: the check, its faces and the table of docs/checks.md are made from it."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
GuideTip = Literal["Image quality", "Data diversity", "Response quality"]


class FindingKind(NamedTuple):
    """A kind of finding: how bad it is, what it is called, why it matters, and the tip of the guide it speaks to.

    An error makes the row one that cannot be trained on. `repaired` says what `--fix` makes of it; a row with an error
    that has none goes to the file of rejected rows.
    """

    severity: Severity
    title: str
    why: str
    tip: GuideTip | None = None
    fix: str | None = None


KINDS: Final[Mapping[str, FindingKind]] = {
    "row": FindingKind("error", "not a row", "The line is no JSON object, or no UTF-8."),
    "field": FindingKind(
        "error",
        "bad field",
        "A field is missing, empty or of the wrong type; a turn has no known role; marks and images do not add up.",
        fix="numbers become text, halves of surrogate pairs and characters kept from text are dropped",
    ),
    "image-missing": FindingKind(
        "error",
        "image not found",
        "There is no such file, or its address is refused or does not answer.",
        fix="white space, backslashes and a different case of letters in a path that then leads to one file",
    ),
    "image-damaged": FindingKind(
        "error", "image cannot be read", "It is truncated, damaged, or no image.", "Image quality"
    ),
    "image-bomb": FindingKind("error", "image claims too many pixels", "Decoding it would take the machine's memory."),
    "image-shape": FindingKind(
        "error", "image too long for the model", "The model family takes no image so much longer than wide."
    ),
    "template": FindingKind(
        "error", "refused by the chat template", "The conversation cannot be written as the model reads it."
    ),
    "too-long": FindingKind("error", "too long", "The row has more tokens than the maximum length, and is never cut."),
    "nothing-learned": FindingKind(
        "error", "nothing to learn", "No token of the row would be trained on.", "Response quality"
    ),
    "image-small": FindingKind(
        "warning", "small image", "It is enlarged to what the model sees: details are not there.", "Image quality"
    ),
    "image-ratio": FindingKind(
        "warning",
        "very long image",
        "One side is many times the other: resizing leaves little of it.",
        "Image quality",
    ),
    "image-heavy": FindingKind("note", "file over 5 MB", "Reading it costs time in every epoch.", "Image quality"),
    "image-large": FindingKind(
        "note", "much larger than is seen", "It is reduced to the maximum of pixels at every reading.", "Image quality"
    ),
    "image-animated": FindingKind("note", "several frames", "Only the first frame or page is used.", "Image quality"),
    "image-mode": FindingKind(
        "note",
        "unusual pixels",
        "CMYK, palette, transparency or 16 bits: converted to RGB over white.",
        "Image quality",
    ),
    "image-ending": FindingKind(
        "note", "wrong ending", "The file is another format than its name says; it is read as it is."
    ),
    "image-repeated": FindingKind(
        "warning", "same image in two files", "Files of equal content count as different images.", "Data diversity"
    ),
    "row-repeated": FindingKind(
        "warning",
        "row repeated",
        "The same conversation about the same images is learned twice.",
        "Data diversity",
        "repeats are left out",
    ),
    "answer-in-question": FindingKind(
        "warning", "question holds the answer", "The answer stands in the question word for word.", "Response quality"
    ),
    "answers-alike": FindingKind(
        "warning", "one answer for many rows", "A model that always says it would look good.", "Response quality"
    ),
    "answers-short": FindingKind(
        "note", "very short answers", "They teach little but their format.", "Response quality"
    ),
    "answer-outlier": FindingKind(
        "note", "answer far longer than the others", "It may be of another style than the rest.", "Response quality"
    ),
    "questions-alike": FindingKind(
        "note", "one question for many rows", "Other wordings will be answered worse.", "Data diversity"
    ),
    "few-images": FindingKind("note", "few images", "Many rows share few images.", "Data diversity"),
    "few-rows": FindingKind("note", "few rows", "So few are learned by heart quickly.", "Data diversity"),
    "eval-overlap": FindingKind(
        "warning", "evaluated on what is trained on", "The row, or its image, is in the evaluation dataset too."
    ),
    "tokens-unknown": FindingKind(
        "note", "tokens not counted", "Whether rows are too long is seen when the run starts."
    ),
}


def kinds_table() -> str:
    """The table of docs/checks.md."""
    lines = ["| kind | what it is | severity | why it matters | what `--fix` does |", "|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        fixed = kind.fix or ("sets the row aside" if kind.severity == "error" else "–")
        lines.append(f"| `{name}` | {kind.title} | {kind.severity} | {kind.why} | {fixed} |")
    return "\n".join(lines) + "\n"
