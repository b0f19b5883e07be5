"""Early stopping: the training ends after some evaluations in a row that are not better than the best.

Everything it depends on is in the journal, so that a resumed run stops where an undisturbed one does.
"""

from collections.abc import Mapping

from mg_tui.runs.checkpoint_format import BestBy


class EarlyStopping:
    """Counts evaluations without an improvement.

    Args:
        patience: evaluations in a row that are not better, after which the training ends; None never ends it.
        by: the score that decides.
        earlier: the scores of the evaluations so far, by step.
    """

    def __init__(self, patience: int | None, by: BestBy, earlier: Mapping[int, Mapping[str, float]]):
        self._patience = patience
        self._by = by
        self._best: tuple[float, int] | None = None
        self._worse = 0
        for step in sorted(earlier):
            self.record(step, earlier[step])

    def record(self, step: int, scores: Mapping[str, float]) -> None:
        """Add an evaluation. A score that is missing, or is no number, is no improvement."""
        score = scores.get(self._by.metric)
        if score is not None and self._by.is_better(score, self._best[0] if self._best else None):
            self._best, self._worse = (score, step), 0
        else:
            self._worse += 1

    @property
    def reason(self) -> str | None:
        """Why the training ends now; None while it does not."""
        if self._patience is None or self._worse < self._patience:
            return None
        evaluations = f"{self._worse} evaluation{'s' if self._worse > 1 else ''}"
        if self._best is None:
            return f"{self._by.metric} was no number for {evaluations}"
        return f"{self._by.metric} was not better than {self._best[0]:.4g} (step {self._best[1]}) for {evaluations}"
