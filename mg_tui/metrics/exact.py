"""Exact match under three normalizers, and the accuracy of visual question answering."""

from collections.abc import Callable, Iterator

from mg_tui.metrics import normalize
from mg_tui.metrics.contract import Metric, MetricFunction
from mg_tui.metrics.references import texts
from mg_tui.metrics.rows import per_row

# With fewer references the leave-one-out rule penalizes correct answers: one reference gives 0, three equal ones 0.667.
MIN_VQA_REFERENCES = 4


def _exact(normalizer: Callable[[str], str]) -> MetricFunction:
    def score(answer: str, references: tuple[str, ...]) -> float:
        predicted = normalizer(answer)
        return float(any(predicted == normalizer(reference) for reference in references))

    return per_row(score, texts)


def _vqa(normalizer: Callable[[str], str]) -> MetricFunction:
    def score(answer: str, references: tuple[str, ...]) -> float:
        predicted = normalizer(answer)
        hits = [predicted == normalizer(reference) for reference in references]
        # For each reference: how many of the others agree with the answer, three being enough.
        return sum(min(1.0, (sum(hits) - hit) / 3) for hit in hits) / len(hits)

    return per_row(score, texts)


def metrics() -> Iterator[Metric]:
    """The metrics of this module."""
    yield Metric(
        name="exact_match",
        version="1",
        title="Exact match",
        summary="The answer is a reference, character by character.",
        source="by definition",
        compute=_exact(str),
    )
    yield Metric(
        name="exact_match_folded",
        version="1",
        title="Exact match, case and space folded",
        summary="The answer is a reference, whatever its capitals and white space.",
        source="by definition",
        compute=_exact(normalize.folded),
    )
    yield Metric(
        name="exact_match_vqa",
        version="1",
        title="Exact match, VQA-normalized",
        summary="The answer is a reference after the normalizer `evalai`: articles, punctuation, number words.",
        source="TextVQA's server (mmf), as in lmms-eval",
        compute=_exact(normalize.evalai),
    )
    for name, title, normalizer, source in (
        ("vqa_accuracy", "VQA accuracy", normalize.vqa, "VQA v2 (GT-Vision-Lab/VQA), both sides normalized"),
        ("vqa_accuracy_evalai", "VQA accuracy, TextVQA's normalizer", normalize.evalai, "TextVQA's server (mmf)"),
    ):
        yield Metric(
            name=name,
            version="1",
            title=title,
            summary="Mean over the references of min(1, other references equal to the answer / 3).",
            source=source,
            compute=_vqa(normalizer),
            correct_at=0.5,
            minimum_references=MIN_VQA_REFERENCES,
        )
