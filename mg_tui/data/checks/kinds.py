"""Every kind of finding: the check, the user interfaces and the table in docs/checks.md use this list."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
GuideTip = Literal["Image quality", "Data diversity", "Response quality"]


class FindingKind(NamedTuple):
    """A kind of finding: severity, title, why it matters, and the tip of the guide it belongs to.

    A row with an error cannot be trained on. `fix` says how `--fix` repairs it; a row with an error that has no fix
    goes to the file of rejected rows.
    """

    severity: Severity
    title: str
    why: str
    tip: GuideTip | None = None
    fix: str | None = None


KINDS: Final[Mapping[str, FindingKind]] = {
    "row": FindingKind("error", "not a row", "The line is not a JSON object or not UTF-8."),
    "field": FindingKind(
        "error",
        "bad field",
        "A field is missing, empty or has the wrong type; a role is unknown; placeholders and images do not match.",
        fix="converts numbers to text; removes lone surrogates and noncharacters",
    ),
    "image-missing": FindingKind(
        "error",
        "image not found",
        "The file does not exist, or its URL is blocked or unreachable.",
        fix="corrects whitespace, backslashes and letter case if exactly one file matches",
    ),
    "image-damaged": FindingKind(
        "error", "unreadable image", "It is truncated, damaged, or not an image.", "Image quality"
    ),
    "image-bomb": FindingKind("error", "decompression bomb", "Decoding it would exhaust memory."),
    "image-shape": FindingKind(
        "error", "unsupported aspect ratio", "The model family does not accept this aspect ratio."
    ),
    "template": FindingKind(
        "error", "rejected by the chat template", "The chat template raises an error for this conversation."
    ),
    "too-long": FindingKind("error", "too long", "The row exceeds the maximum length; rows are never truncated."),
    "nothing-learned": FindingKind(
        "error", "no supervised tokens", "The row has no supervised tokens.", "Response quality"
    ),
    "image-small": FindingKind("warning", "small image", "It is upscaled and lacks detail.", "Image quality"),
    "image-ratio": FindingKind(
        "warning",
        "extreme aspect ratio",
        "One side is many times the other; little detail remains after resizing.",
        "Image quality",
    ),
    "image-heavy": FindingKind("note", "file over 5 MB", "Reading it slows down every epoch.", "Image quality"),
    "image-large": FindingKind(
        "note", "much larger than needed", "It is downscaled to the pixel limit every time it is read.", "Image quality"
    ),
    "image-animated": FindingKind("note", "several frames", "Only the first frame or page is used.", "Image quality"),
    "image-mode": FindingKind(
        "note",
        "unusual pixel mode",
        "CMYK, palette, transparency or 16-bit: converted to RGB on white.",
        "Image quality",
    ),
    "image-ending": FindingKind(
        "note", "wrong file extension", "The file's format does not match its extension; the actual format is used."
    ),
    "image-repeated": FindingKind(
        "warning", "duplicate image file", "Files with identical content count as different images.", "Data diversity"
    ),
    "row-repeated": FindingKind(
        "warning",
        "duplicate row",
        "The same conversation and images occur more than once.",
        "Data diversity",
        "drops duplicates",
    ),
    "answer-in-question": FindingKind(
        "warning",
        "question contains the answer",
        "The answer is contained verbatim in the question.",
        "Response quality",
    ),
    "answers-alike": FindingKind(
        "warning",
        "same answer in many rows",
        "A model that always gives this answer would score well.",
        "Response quality",
    ),
    "answers-short": FindingKind(
        "note", "very short answers", "They teach little beyond the format.", "Response quality"
    ),
    "answer-outlier": FindingKind(
        "note", "unusually long answer", "Its style may differ from the rest.", "Response quality"
    ),
    "questions-alike": FindingKind(
        "note", "same question in many rows", "The model may not generalize to other phrasings.", "Data diversity"
    ),
    "few-images": FindingKind("note", "few images", "Many rows share few images.", "Data diversity"),
    "few-rows": FindingKind("note", "few rows", "The model will overfit a dataset this small.", "Data diversity"),
    "eval-overlap": FindingKind(
        "warning", "train/eval overlap", "The row or its image is also in the evaluation dataset."
    ),
    "column-unused": FindingKind("note", "unused column", "No layout reads it; the model does not see its values."),
    "marker-text": FindingKind(
        "warning", "placeholder left as text", "The model sees a placeholder of another tool as text."
    ),
    "tokens-unknown": FindingKind("note", "tokens not counted", "Row lengths are checked when the run starts."),
}


def kinds_table() -> str:
    """The table of docs/checks.md."""
    lines = ["| kind | what it is | severity | why it matters | what `--fix` does |", "|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        fixed = kind.fix or ("moves the row to the rejects file" if kind.severity == "error" else "–")
        lines.append(f"| `{name}` | {kind.title} | {kind.severity} | {kind.why} | {fixed} |")
    return "\n".join(lines) + "\n"
