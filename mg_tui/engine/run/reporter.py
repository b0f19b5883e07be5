"""The trainer's callback: writes every step to the journal and passes requests to the trainer."""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from mg_tui.engine.inference.training_samples import SampleWriter
from mg_tui.engine.monitoring import step_checks
from mg_tui.engine.monitoring.budget import Budget
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.monitoring.watchdog import Watchdog
from mg_tui.engine.run.due_work import DueWork
from mg_tui.engine.run.early_stopping import EarlyStopping
from mg_tui.engine.run.ranks import RankReporter
from mg_tui.runs.current_step import CurrentStepWriter
from mg_tui.runs.journal import JournalWriter


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Writes `step` and `eval` events, generates samples, and handles requests between steps.

    `trainer` is set once it exists; `ranks` reports on several training processes. `used` returns the GPU usage of the
    run so far. `due_work` is what an earlier attempt left undone of the step the run resumes from; `early_stopping` is
    set for a run that may end early, `budget` for one that may cost only so much.
    """

    def __init__(
        self,
        journal: JournalWriter,
        stopper: StopHandler,
        sampler: SampleWriter,
        *,
        scaled: bool,
        used: Callable[[], dict[str, Any]] = dict,
        note: CurrentStepWriter | None = None,
        ranks: RankReporter | None = None,
    ):
        self.trainer: Any = None
        self._used = used
        self._step_note = note
        self._ranks = ranks
        self._journal = journal
        self._stopper = stopper
        self._sampler = sampler
        self._has_loss_scaler = scaled
        self._sampled_at = -1
        self._watchdog = Watchdog(journal)
        self.due_work = DueWork()
        self.early_stopping: EarlyStopping | None = None
        self.budget: Budget | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start to watch for stalls, and do what an earlier attempt left undone."""
        self._watchdog.start().report_progress()
        if self._ranks is not None:
            self._ranks.start()
        if self.due_work:
            self._watchdog.pause()
            self.do_due_work(state.global_step)
            self._watchdog.report_progress()

    def do_due_work(self, step: int) -> None:
        """Evaluate and generate samples where an earlier attempt ended before it did."""
        due, self.due_work = self.due_work, DueWork()
        if due.evaluation:
            self.trainer.evaluate()  # and samples
        if due.samples:
            self._sample(step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop watching."""
        self._watchdog.stop()
        if self._ranks is not None:
            self._ranks.stop()
        if self._step_note is not None:
            self._step_note.close()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the step and its rows, for the case that the process dies in it."""
        self._watchdog.report_progress()
        if self._step_note is not None:
            examples = self.trainer.stream.examples_of(state.global_step)
            images = [ref.original for example in examples for ref in example.images]
            self._step_note.write(state.global_step + 1, [example.row for example in examples], images)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last moment to keep a non-finite gradient from the weights."""
        facts = self.trainer.step_metrics
        facts.learning_rate = self.trainer._get_learning_rate()
        step_checks.require_finite_gradient(
            facts.grad_norm, step=state.global_step + 1, rows=facts.rows, scaled=self._has_loss_scaler
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Write the step to the journal, then handle the requests that have arrived."""
        facts = self.trainer.step_metrics
        # The trainer counts from the start of its loader, which after a resume is in the middle of an epoch.
        state.epoch = state.global_step / len(self.trainer.stream)
        seconds, used = time.perf_counter() - facts.started, memory_usage()
        self._journal.write(
            "step",
            step=state.global_step,
            epoch=round(state.epoch, 4),
            loss=facts.loss,
            learning_rate=facts.learning_rate,
            grad_norm=facts.grad_norm,
            supervised_tokens=facts.supervised_tokens,
            tokens=facts.tokens,
            laid_out=facts.laid_out,
            images=facts.images,
            images_encoded=facts.images_encoded,
            images_cached=facts.images_cached,
            seconds=round(seconds, 4),
            data_wait=round(facts.data_wait, 4),
            **used,
            **(self._used() if state.global_step % args.logging_steps == 0 else {}),
        )
        if state.global_step >= state.max_steps and self.trainer.eval_batches is not None:
            control.should_evaluate = True
        self._watchdog.step(state.global_step, loss=facts.loss, seconds=seconds, host_memory=used["host_memory"])
        self.trainer.stop_grace.end_step()
        self._stopper.poll()
        if self.budget is not None and (spent := self.budget.exceeded()) is not None:
            self._stopper.stop_for_budget(spent)
        if self._stopper.pop_checkpoint_request():
            control.should_save = True
        if self._stopper.stop_by is not None:
            control.should_evaluate = False  # the next attempt does it: see `due_work`
            self._end_with_checkpoint(control)
        self.trainer.agree_on_control(control)
        if control.should_save or control.should_evaluate:
            self._watchdog.pause()  # until the next step begins
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write a line to the log, at the logging interval."""
        values = ", ".join(f"{k} {v:.6g}" for k, v in (logs or {}).items() if isinstance(v, int | float))
        sys.stderr.write(f"step {state.global_step}/{state.max_steps}: {values}\n")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any) -> None:
        """Write the evaluation to the journal."""
        values, answers, step = metrics or {}, self.trainer.answer_scores, state.global_step
        self._journal.write(
            "eval",
            step=step,
            loss=values.get("eval_loss"),
            seconds=round(values.get("eval_runtime", 0.0), 3),
            examples=values.get("eval_examples"),
            **answers.event_fields(self.trainer.store.folder.path),
        )
        scores = {"loss": float(values["eval_loss"]), **answers.scores}
        if self.trainer.store.record_evaluation(step, scores):
            control.should_save = True  # the best so far gets a checkpoint
        self._sample(step)
        self._stop_early(step, scores, control, last=step >= state.max_steps)
        if self._stopper.stop_by is not None:  # after this step, whose samples are still due, and not after the next
            self._end_with_checkpoint(control)
        self.trainer.agree_on_control(control)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Generate samples (the `checkpoint` event is written by the store)."""
        self._sample(state.global_step)
        if self._stopper.stop_by is not None:
            control.should_training_stop = True
        self.trainer.agree_on_control(control)

    def _stop_early(self, step: int, scores: dict[str, float], control: Any, *, last: bool) -> None:
        """End the training when evaluations have not improved for a while."""
        if self.early_stopping is None:
            return
        self.early_stopping.record(step, scores)
        if self.early_stopping.reason is not None and not last:
            value = f"after step {step}"
            self._journal.write("decision", what="early stop", value=value, why=self.early_stopping.reason)
            self._end_with_checkpoint(control)

    @staticmethod
    def _end_with_checkpoint(control: Any) -> None:
        control.should_save = control.should_training_stop = True

    def _sample(self, step: int) -> None:
        if step != self._sampled_at and self._stopper.stop_by is None:
            self._sampled_at = step
            self._sampler.write_samples(self.trainer, step)


def memory_usage() -> dict[str, int | None]:
    """Bytes in use: of the device by this process (now, and at most so far) and of the host by this process."""
    import psutil

    cuda = torch.cuda.is_available()
    return {
        "device_memory": torch.cuda.memory_allocated() if cuda else None,
        "device_memory_peak": torch.cuda.max_memory_allocated() if cuda else None,
        "host_memory": psutil.Process().memory_info().rss,
    }
