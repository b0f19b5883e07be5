"""transformers' Trainer, with a loader whose items are whole optimizer steps.

The Trainer provides schedules, optimizers, mixed precision, clipping, callbacks, trackers and the loop. Overridden are
the step (the losses of its forward passes are summed and divided by the supervised tokens of the whole step, so that
the result does not depend on the layout), the evaluation (stores no logits) and the checkpoint (written atomically).
What is overridden is listed in `transformers_contract`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerState
from transformers.trainer_callback import PrinterCallback

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.text import first_line
from mg_tui.engine.batching.batches import EvaluationBatches, MicroBatch, StepBatch
from mg_tui.engine.batching.image_files import ChangedImages
from mg_tui.engine.batching.step_stream import DataWait, StepStream
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.checkpointing import trained_weights
from mg_tui.engine.checkpointing.checkpoint_store import CheckpointStore
from mg_tui.engine.compute import flex_attention
from mg_tui.engine.compute.loss import evaluation_loss_sum
from mg_tui.engine.compute.objective import Objective
from mg_tui.engine.monitoring import step_checks
from mg_tui.engine.monitoring.rank_health import RankHealth
from mg_tui.engine.monitoring.step_metrics import StepMetrics
from mg_tui.engine.monitoring.stop_grace import StopGrace
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.run.answer_metrics import AnswerMetrics, AnswerScores
from mg_tui.engine.run.distributed import GradientSync, seed_step
from mg_tui.engine.run.evaluation_loss import mean_loss
from mg_tui.engine.run.shrink_layout import shrink_layout
from mg_tui.runs import checkpoint_format
from mg_tui.runs.journal import JournalWriter


class GardenTrainer(Trainer):  # type: ignore[misc]
    """A Trainer over a `StepStream`. `step_metrics` describes the current step; `probe`, if set, is called once before
    the first step.

    Args:
        stream: the training steps.
        eval_batches: the batches of an evaluation, or None without evaluation data.
        store: writes checkpoints.
        stopper: polled between forward passes.
        journal: gets an event when a step is laid out again in smaller passes.
        vision: turns images of a batch into what the model's forward takes.
        answer_metrics: answers and scores the held-out examples at an evaluation; the scores are in `answer_scores`.
        tolerate_bad_rows: skip examples that can no longer be read.
        label_smoothing: see `loss.token_loss_sum`.
        stop_grace: decides whether a step is finished after SIGTERM; by default it always is.
        sync: the collectives of the run's processes.
        health: told what this process does, where there are several.
        make_groups: makes the optimizer's parameter groups from a model and the names of its parameters with weight
            decay; returns None for a single learning rate.
        arguments: what `transformers.Trainer` takes.
    """

    control: Any  # transformers' own, declared for the type checker

    def __init__(
        self,
        *,
        stream: StepStream,
        eval_batches: EvaluationBatches | None,
        store: CheckpointStore,
        stopper: StopHandler,
        journal: JournalWriter,
        vision: VisionInputs,
        answer_metrics: AnswerMetrics | None = None,
        tolerate_bad_rows: bool = False,
        label_smoothing: float = 0.0,
        stop_grace: StopGrace | None = None,
        make_groups: "Callable[[Any, list[str]], list[dict[str, Any]] | None] | None" = None,
        sync: GradientSync | None = None,
        health: RankHealth | None = None,
        **arguments: Any,
    ):
        self.stream = stream
        self.eval_batches = eval_batches
        self.store = store
        self.stopper = stopper
        self.stop_grace = stop_grace or StopGrace(None, stopper)
        self.journal = journal
        self.vision = vision
        self.answer_metrics = answer_metrics
        self.answer_scores = AnswerScores()
        self.tolerate_bad_rows = tolerate_bad_rows
        self.make_groups = make_groups
        self.probe: Callable[[GardenTrainer, Any], None] | None = None
        self.step_metrics = StepMetrics()
        self.row_failures: list[Any] = []
        self.changed_images = ChangedImages(journal)
        self._data_wait = DataWait()
        super().__init__(train_dataset=stream.dataset, eval_dataset=eval_batches, **arguments)
        self.remove_callback(PrinterCallback)
        self.objective = Objective(self.model, label_smoothing=label_smoothing)
        self.gradient_sync = sync or GradientSync()
        self.health = health

    # --- data -------------------------------------------------------------------------------------------------------
    def get_train_dataloader(self) -> StepStream:
        """The stream itself: its plan knows the ranks, and its batches need no collating."""
        return self.stream

    def num_examples(self, dataloader: Any) -> int:
        """The number of examples in an epoch."""
        return len(dataloader.dataset.examples)

    def get_batch_samples(self, epoch_iterator: Iterator[StepBatch], num_batches: int, device: Any) -> tuple[Any, None]:
        """The next step, if the epoch has one; starts timing the step."""
        if self.control.should_training_stop:  # by an evaluation that was due before the first step of this attempt
            return [], None
        started = time.perf_counter()
        batch = self._data_wait.next_item(epoch_iterator)
        if batch is None:
            return [], None
        self.step_metrics = StepMetrics(started=started, data_wait=self._data_wait.seconds)
        self.changed_images.report(batch.number + 1, batch.changed_images)
        if batch.failures:
            self._handle_row_failures(batch)
        return [batch], None

    def _handle_row_failures(self, batch: StepBatch) -> None:
        if not self.tolerate_bad_rows:
            first = batch.failures[0]
            raise DataError(
                f"row {first.row} can no longer be read: {first.what}",
                why=first.why,
                hint=first.hint or "it could be read when the run started; restore the image and resume the run",
            )
        self.row_failures.extend(batch.failures)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the Trainer's estimate assumes the shape of one batch."""
        return 0

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, with a parameter group for each part of the model where their learning rates differ."""
        model_to_train = self.model if model is None else model
        groups = (
            self.make_groups(model_to_train, self.get_decay_parameter_names(model_to_train))
            if self.make_groups is not None
            else None
        )
        if groups is not None and self.optimizer is None:
            kind, values = self.get_optimizer_cls_and_kwargs(self.args, model_to_train)
            self.optimizer_cls_and_kwargs = (kind, {**values, "params": groups})
        return super().create_optimizer(model)

    # --- the step ---------------------------------------------------------------------------------------------------
    def training_step(self, model: Any, inputs: StepBatch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of every forward pass of the step; returns the step's loss.

        The loss is the sum of the token losses, each times its row's weight, over the number of supervised tokens of
        the whole step, over all ranks.

        Raises:
            StepFailed: the loss is not finite, there are no supervised tokens, or memory does not suffice.
            StopRequested: a stop without a checkpoint was requested.
        """
        model.train()
        self.stop_grace.begin_step()
        facts, step = self.step_metrics, self.state.global_step + 1
        if self.health is not None:
            self.health.begin_step(step, inputs.rows)
            seed_step(self.args.seed, step, inputs.rows)
        # One all-reduce, before anything can fail on a single rank.
        (supervised,) = self.gradient_sync.all_reduce_sums(inputs.supervised)
        if inputs.failures and not supervised:
            rows, first = [failure.row for failure in inputs.failures], inputs.failures[0]
            step_checks.require_readable_rows(
                step=step, rows=rows, readable=len(inputs.rows), why=first.what, hint=first.hint
            )
        step_checks.require_supervised_tokens(int(supervised), step=step, rows=inputs.rows)
        total, inputs = self._run_until_it_fits(model, inputs, 1.0 / supervised)
        self.gradient_sync.all_reduce_gradients(model)
        counts = (inputs.tokens, inputs.laid_out, inputs.images, *self.vision.pop_counts())
        facts.loss, *summed = self.gradient_sync.all_reduce_sums(float(total), *counts)
        facts.tokens, facts.laid_out, facts.images, facts.images_encoded, facts.images_cached = map(int, summed)
        facts.rows, facts.supervised_tokens = inputs.rows, int(supervised)
        if self.gradient_sync.world_size > 1:
            facts.rows = tuple(example.row for example in self.stream.examples_of(inputs.number))
        step_checks.require_finite_loss(facts.loss, step=step, rows=facts.rows)
        return total.new_tensor(facts.loss)

    def _run_until_it_fits(self, model: Any, inputs: StepBatch, scale: float) -> tuple[torch.Tensor, StepBatch]:
        """The summed loss of the step, laid out in smaller passes on all ranks when it does not fit on one of them."""
        step = self.state.global_step + 1
        while True:
            total, why = None, None
            began = time.perf_counter()
            try:
                if self.probe is not None:
                    inputs = self._run_probe(self.probe, model, inputs)
                    self.probe = None
                total = self._run_micro_batches(model, inputs, scale)
            except torch.OutOfMemoryError as error:
                why = first_line(error)
            except GardenError:
                raise
            except Exception as error:
                if not flex_attention.is_kernel_error(error) or not flex_attention.fall_back(self.model):
                    raise
                self._report_flex_fallback(model, step, error)
                continue
            if self.health is not None:
                self.health.note.seconds = round(self.step_metrics.data_wait + time.perf_counter() - began, 4)
            # Outside of the handler: the error holds the tensors of the failed pass.
            if not self.gradient_sync.any(why is not None) and total is not None:
                return total, inputs
            self._lay_out_smaller(model, inputs, step, why)
            inputs = self.stream.dataset[inputs.number]

    def _lay_out_smaller(self, model: Any, inputs: StepBatch, step: int, why: str | None) -> None:
        """After a pass did not fit on some rank: smaller passes on all of them. `why` is None where it did fit."""
        layout, facts = self.stream.dataset.layout, None
        if why is not None:
            largest, size = shrink_layout(layout, model, inputs.micro_batches, step=step, why=why)
            facts = {"rows": largest.rows, "tokens": largest.laid_out, "why": why, "budget": size}
        else:
            model.zero_grad(set_to_none=True)
            layout.shrink()
        for rank, known in enumerate(self.gradient_sync.gather(facts)):
            if known is not None:
                several = {"rank": rank} if self.gradient_sync.world_size > 1 else {}
                self.journal.write("relaid", step=step, **known, **several)

    def _run_probe(self, probe: "Callable[[GardenTrainer, Any], None]", model: Any, inputs: StepBatch) -> StepBatch:
        """The step, laid out again if the probe has lowered the token budget."""
        layout = self.stream.dataset.layout
        before = getattr(layout, "budget", None)
        probe(self, model)
        after = getattr(layout, "budget", None)
        return self.stream.dataset[inputs.number] if before and after and after < before else inputs

    def _run_micro_batches(self, model: Any, inputs: StepBatch, scale: float) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=self.args.device)
        for number, part in enumerate(inputs.micro_batches):
            self.stopper.poll()
            self.stop_grace.check(number, len(inputs.micro_batches))
            total += self._forward_backward(model, part, scale)
        return total

    def _forward_backward(self, model: Any, part: MicroBatch, scale: float) -> torch.Tensor:
        batch = self._to_device(part)
        with self.objective.restricted_to(batch.positions, tuple(batch.inputs["input_ids"].shape)):
            with self.accelerator.autocast():
                inputs = self.vision(self.accelerator.unwrap_model(model), batch.inputs, images=batch.images)
                loss_sum = self.objective.loss_sum(model, inputs, batch.positions, batch.targets, batch.weights)
                loss = loss_sum * scale
            self.accelerator.backward(loss)
        return loss.detach()

    def _report_flex_fallback(self, model: Any, step: int, error: Exception) -> None:
        """Write why the step is repeated with attention by blocks; clears its gradients."""
        model.zero_grad(set_to_none=True)
        self.journal.write(
            "warning",
            what="flex attention failed: packed layouts use attention by blocks from here on",
            where=f"step {step}",
            why=f"{type(error).__name__}: {first_line(error)}",
        )

    def _to_device(self, part: MicroBatch) -> MicroBatch:
        device = self.args.device

        def move(value: Any) -> Any:
            return value.to(device, non_blocking=True) if torch.is_tensor(value) else value

        inputs = {name: move(value) for name, value in part.inputs.items()}
        moved = {name: move(getattr(part, name)) for name in ("positions", "targets", "weights")}
        return replace(part, inputs=inputs, **moved)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.step_metrics.grad_norm = None if norm is None else float(norm)
        return norm

    # --- evaluation -------------------------------------------------------------------------------------------------
    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Mean loss of a supervised token over the evaluation examples, without storing logits, and answers' metrics.

        A stop requested while answers are generated abandons the evaluation; the next attempt redoes it.
        """
        if self.eval_batches is None:
            return {}
        started = time.perf_counter()
        was_training = self.model.training
        self.model.eval()
        if self.health is not None:
            self.health.say("evaluating")
        loss = mean_loss(self.eval_batches, self._evaluation_loss)
        self.vision.pop_counts()
        scores: AnswerScores | None = AnswerScores()
        if self.answer_metrics is not None:
            scores = self.answer_metrics.score(self, self.state.global_step)
        self.model.train(was_training)
        if self.gradient_sync.from_first(scores is None) or scores is None:
            self.control.should_evaluate = False
            self.control.should_save = self.control.should_training_stop = True
            return {}
        self.answer_scores = scores
        metrics = {
            f"{metric_key_prefix}_loss": loss,
            **{f"{metric_key_prefix}_{name}": score for name, score in scores.scores.items()},
            f"{metric_key_prefix}_runtime": time.perf_counter() - started,
            f"{metric_key_prefix}_examples": len(self.eval_batches),
        }
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluation_loss(self, part: MicroBatch) -> float:
        self.stopper.poll()
        moved = self._to_device(part)
        with self.accelerator.autocast():
            inputs = self.vision(self.model, moved.inputs, images=moved.images)
            return evaluation_loss_sum(
                self.objective.supervised_head, self.model, inputs, moved.positions, moved.targets
            )

    # --- checkpoints ------------------------------------------------------------------------------------------------
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.gradient_sync.world.leads:
            started = time.monotonic()
            self.store.save(self.state.global_step, self._write_checkpoint_files)
            self.stop_grace.checkpoint_seconds = time.monotonic() - started
        self.stopper.note_checkpoint()

    def save_without_step(self) -> None:
        """Write the checkpoint of the last whole step, after one was abandoned; the gradients are discarded."""
        self.model.zero_grad(set_to_none=True)
        self.stop_grace.restore_random()
        if self.state.global_step > 0:
            self._save_checkpoint(self.model, None)

    def _write_checkpoint_files(self, folder: Path) -> None:
        """Write everything that a resume needs into a folder."""
        trained_weights.save_trained_weights(self.accelerator.unwrap_model(self.model), folder)
        if (tokens := getattr(self.stream.dataset.layout, "budget", None)) is not None:
            checkpoint_format.write_token_budget(folder, tokens)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / checkpoint_format.TRAINER_STATE_FILE))

    def agree_on_control(self, control: Any) -> None:
        """Let every rank evaluate, save and stop when rank 0 does: a stop, a cost or a score only it may know."""
        names = ("should_save", "should_evaluate", "should_training_stop")
        flags = self.gradient_sync.from_first([getattr(control, name) for name in names])
        for name, flag in zip(names, flags, strict=True):
            setattr(control, name, flag)

    def restore_finished(self, folder: Path) -> None:
        """Load a checkpoint of the last step, after which no step is left."""
        trained_weights.load_trained_weights(self.model, folder)
        self.state = TrainerState.load_from_json(str(folder / checkpoint_format.TRAINER_STATE_FILE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trained_weights.load_trained_weights(model or self.model, Path(resume_from_checkpoint))
