"""Messages about a run: which of its events are worth one, and what it says.

Their names are those of the states where there is one: finished, stopped, failed, crashed, interrupted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mg_tui.core.events import Event
from mg_tui.core.text import one_line
from mg_tui.runs.cost import compute_cost, cost_to_end
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.series import to_float
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView

MESSAGE_EVENTS: Final[Mapping[str, str]] = {
    "test": "messages about the run arrive here",
    "started": "the worker started, or resumed",
    "first_evaluation": "the first evaluation, with its loss",
    "best": "a checkpoint is the best so far; at most one message in ten minutes",
    "finished": "completed, with the result",
    "stopped": "stopped on request, by a signal or by max_cost",
    "failed": "ended by an error",
    "nan": "a loss or gradient became NaN or infinite; ends the run, or is of an evaluation",
    "crashed": "the worker died without a word",
    "interrupted": "the machine or container ended",
    "stalled": "no step for a long time, or the worker does not respond",
    "disk": "the disk is nearly full",
    "gpu_idle": "the GPUs compute nothing",
    "sync_failed": "nothing could be copied for a while",
    "ending": "the machine is stopped or terminated, or the command run, after a grace period",
    "ended": "what came of it",
}
_BAD: Final = frozenset({"failed", "crashed", "interrupted", "nan", "stalled", "disk", "gpu_idle", "sync_failed"})
BEST_SECONDS: Final = 600.0  # between two messages of `best`
_MAX_TEXT: Final = 600


@dataclass(frozen=True, slots=True)
class RunMessage:
    """One message. `key` identifies it among those of its run, so that it is sent once; `facts` are plain values."""

    key: str
    event: str
    title: str
    text: str
    t: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        """Whether somebody should look."""
        return self.event in _BAD

    def as_dict(self) -> dict[str, Any]:
        """The message as plain values."""
        return asdict(self)


class MessageWriter:
    """Writes the messages of one run.

    Args:
        folder: the run.
        prices: the settings' [cost] table.
        last_best: when the last message of `best` was written (Unix time).
    """

    def __init__(self, folder: RunFolder, prices: Mapping[str, Any], last_best: float = 0.0):
        self._folder, self._prices = folder, prices
        self._view = RunView()  # one event after the other, so that a message has the numbers of its moment
        self.last_best = last_best

    def pass_over(self, event: Event) -> None:
        """Take note of an event whose messages were written before."""
        self._view.apply([event])

    def messages_of(self, event: Event) -> Iterator[RunMessage]:
        """The messages that the next event of the journal is worth."""
        self._view.apply([event])
        data = event.data
        match event.kind:
            case "started":
                again = data.get("attempt", 1) != 1
                where = f"resumed from step {data['resumed_from']}" if data.get("resumed_from") else "started again"
                host = one_line(str(data.get("host", "")), limit=60)
                text = (where if again else "started") + (f" on {host}" if host else "")
                yield self._write(event, f"started#{data.get('attempt', 1)}", "started", text)
            case "eval":
                loss = to_float(data.get("loss"))
                if loss != loss or loss in (float("inf"), float("-inf")):
                    yield self._write(event, f"nan#eval{data['step']}", "nan", f"the evaluation loss is {loss}")
                elif len(self._view.evals) <= 1:
                    text = f"first evaluation: loss {loss:.4g}"
                    yield self._write(event, "first_evaluation", "first_evaluation", text)
            case "checkpoint" if data.get("best") is True and len(self._view.evals) > 1:
                if event.t - self.last_best >= BEST_SECONDS:
                    self.last_best = event.t
                    by = one_line(str(data.get("best_by") or "loss"), limit=60)
                    metrics = data.get("eval_metrics")
                    score = data.get("eval_loss") if by == "loss" else (metrics or {}).get(by)
                    text = f"best so far: {by} {to_float(score):.4g} at step {data['step']}"
                    yield self._write(event, f"best#{data['step']}", "best", text)
            case "finished":
                result = one_line(str(data.get("result") or ""), limit=300)
                yield self._write(event, f"end#{event.n}", "finished", f"result {result}" if result else "finished")
            case "stopped":
                yield self._write(event, f"end#{event.n}", "stopped", self._stopped_text(data))
            case "failed":
                bad = data.get("cause") == "not finite"
                why = f": {one_line(str(data['why']), limit=300)}" if data.get("why") else ""
                what = one_line(str(data.get("what", "no reason given")), limit=300)
                yield self._write(event, f"end#{event.n}", "nan" if bad else "failed", f"{what}{why}")
            case "warning" if data.get("stack"):
                text = one_line(str(data.get("what", "")), limit=300)
                yield self._write(event, f"stalled#{event.n}", "stalled", text)

    def of_state(self, state: RunState, now: float) -> RunMessage | None:
        """The message that the worker died, which no event says; None in other states."""
        if state not in (RunState.CRASHED, RunState.INTERRUPTED) or self._view.lifecycle != "started":
            return None
        newest = self._view.checkpoints[-1].step if self._view.checkpoints else None
        why = "the worker died without an error: killed, or out of memory"
        if state is RunState.INTERRUPTED:
            why = "its machine or container ended"
        saved = f"newest checkpoint: step {newest}" if newest is not None else "no checkpoint"
        hint = f"resume it: model-garden runs resume {self._folder.id}"
        return self.notice(f"{state.value}#{self._view.attempt}", state.value, f"{why}; {saved}; {hint}", now)

    def notice(self, key: str, event: str, text: str, now: float, **facts: Any) -> RunMessage:
        """A message about something that is not in the journal."""
        name = one_line(self._view.name or self._folder.id, limit=80)
        title = f"{name} {event.replace('_', ' ')}"
        everything = {**self._facts(now), **facts}
        lines = [one_line(text, limit=_MAX_TEXT), _summary(everything)]
        return RunMessage(key, event, title, "\n".join(filter(None, lines)), now, everything)

    def _write(self, event: Event, key: str, name: str, text: str) -> RunMessage:
        return self.notice(key, name, text, event.t)

    def _stopped_text(self, data: Mapping[str, Any]) -> str:
        by = f" by {one_line(str(data['by']), limit=100)}" if data.get("by") else ""
        seconds = data.get("checkpoint_seconds")
        saved = "checkpoint" if data.get("checkpoint") else "no checkpoint"
        took = f", whole {seconds:.1f} s after the request" if isinstance(seconds, int | float) else ""
        return f"stopped{by} at step {data.get('step', self._view.step)}; {saved}{took}"

    def _facts(self, now: float) -> dict[str, Any]:
        view = self._view
        elapsed, eta = view.elapsed_seconds(now), view.eta_seconds(now)
        cost = compute_cost(view.energy_j, view.gpu_seconds, self._prices, elapsed)
        left = cost_to_end(cost, elapsed, eta)
        return {
            "run": self._folder.id,
            "name": view.name,
            "step": view.step,
            "total_steps": view.total_steps,
            "loss": view.loss,
            "eval_loss": view.evals[-1].loss if view.evals else None,
            "elapsed_seconds": elapsed,
            "eta_seconds": eta,
            **cost.as_dict(),
            "cost_to_end": left,
        }


def _summary(facts: Mapping[str, Any]) -> str:
    """The numbers of a message on one line; what is not known is left out."""
    step, total, loss, money = (facts.get(name) for name in ("step", "total_steps", "loss", "cost"))
    parts = [
        f"step {step}" + (f"/{total}" if total else "") if step else "",
        f"loss {to_float(loss):.4g}" if loss is not None else "",
        f"eval loss {to_float(facts['eval_loss']):.4g}" if facts.get("eval_loss") is not None else "",
        format_hours(facts.get("elapsed_seconds")),
        f"{format_hours(facts['eta_seconds'])} left" if facts.get("eta_seconds") else "",
    ]
    if money is not None:
        currency = one_line(str(facts.get("currency") or ""), limit=8)
        left = facts.get("cost_to_end")
        parts.append(f"{money:,.2f} {currency}" + (f", about {left:,.2f} more to the end" if left else ""))
    return " · ".join(part for part in parts if part)


def format_hours(seconds: Any) -> str:
    """`1 h 12 min`, `12 min`, `40 s`; empty when not known."""
    if not isinstance(seconds, int | float) or seconds != seconds:
        return ""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
