"""One run from spec to result: data read and measured, model loaded, steps done, result saved.

The order is chosen so that what can be wrong is found before what takes long: rows before weights, and the processes
that read pictures are forked before a model's memory is there to be forked with them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mg_tui.config import Settings
from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine import adapt, arguments, checkpoint, data, lengths, placement
from mg_tui.engine.batches import Layout, PaddedLayout, StepBatch, StepDataset, StepStream, open_pictures
from mg_tui.engine.plan import StepPlan
from mg_tui.engine.stopping import Stopper
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Collator, LoadRequest, ModelFamily, Preprocessing
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

_LEAST_BUDGET = 2048  # tokens of a packed forward: little memory for any model, and enough to share pictures in


class Training:
    """A run being done. `step` is how many optimizer steps are done, whatever becomes of it."""

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        stopper: Stopper,
        settings: Settings,
        cwd: Path,
        resume_from: Path | None,
    ):
        self.folder = folder
        self.journal = journal
        self.stopper = stopper
        self.settings = settings
        self.cwd = cwd
        self.resume_from = resume_from
        self.spec: TrainingSpec = folder.read_spec()
        self._trainer: Any = None
        self._start_step = (checkpoint.step_of(resume_from) or 0) if resume_from else 0

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self._trainer.state.global_step) if self._trainer is not None else self._start_step

    def run(self) -> dict[str, Any]:
        """Do it all; returns what the `finished` event says.

        Raises:
            Stopped: somebody asked for an end.
            GardenError: for the person to read.
        """
        began = time.monotonic()
        spec = self.spec
        arguments.require_trackers(spec)
        self._phase("reading data")
        with self.stopper.at_once():
            dataset = data.read(spec, spec.dataset, cwd=self.cwd, cache=self.settings.cache)
            held_out = (
                data.read(spec, spec.eval_dataset, cwd=self.cwd, cache=self.settings.cache)
                if spec.eval_dataset
                else None
            )
        self._phase("loading libraries")
        with self.stopper.at_once():
            resolved, family = self._family()
            placed = placement.decide(spec)
            limits = Preprocessing(spec.min_pixels, spec.max_pixels, spec.system_prompt)
            processor = family.load_processor(family, resolved.source, limits, **self._hub())
            collator = family.make_collator(family, processor, limits, train_on_prompt=spec.train_on_prompt)
        for what, value, why in placed.decisions():
            self._decide(what, value, why)
        self._phase("measuring rows")
        measure, how = lengths.measure_with(collator)
        self._decide("token counts", "exact", how)
        ready = data.settle(spec, dataset, held_out, measure_tokens=measure, folder=self.folder, journal=self.journal)
        plan = self._plan(ready.train)
        total = plan.total_steps(spec.epochs, spec.max_steps)
        layout = self._layout(family, collator, placed, max(ready.tokens))
        stream = StepStream(
            StepDataset(ready.train, plan, layout),
            start=self._start_step,
            total=total,
            workers=spec.workers,
            pin_memory=placed.cuda,
        )
        try:
            stream.open()
            self._phase("loading model", resolved.name)
            with self.stopper.at_once():
                model = self._model(family, resolved.source, placed)
            table = adapt.trained_table(model, family, spec)
            self.journal.write(
                "plan",
                **data.facts(ready),
                steps=total,
                epochs=spec.epochs,
                examples_per_step=spec.examples_per_step,
                trainable=table,
            )
            evaluation = _evaluation(ready.evaluation, PaddedLayout(collator, max(spec.batch_size, 4)))
            trainer = self._make_trainer(
                model, family, placed, stream, evaluation, total, collator, (ready.train, ready.evaluation)
            )
            self._phase("training")
            trainer.train(resume_from_checkpoint=str(self.resume_from) if self.resume_from else None)
        finally:
            stream.close()
        self._end_of_training(trainer, total)
        return self._save(trainer, model, processor, family, resolved, placed, ready, table, began)

    # --- the parts ---------------------------------------------------------------------------------------------------
    def _phase(self, name: str, detail: str | None = None) -> None:
        self.stopper.check()
        self.journal.write("phase", name=name, detail=detail)

    def _decide(self, what: str, value: Any, why: str) -> None:
        self.journal.write("decision", what=what, value=value, why=why)

    def _hub(self) -> dict[str, Any]:
        return {"revision": self.spec.revision, "trust_remote_code": self.spec.trust_remote_code}

    def _family(self) -> tuple[Any, ModelFamily]:
        from mg_tui.families.registry import load_registry

        registry = load_registry()
        resolved = registry.resolve(self.spec.base_model, revision=self.spec.revision, fetch=True)
        if resolved.family is None:
            raise FamilyError(f"no model family is installed for {self.spec.base_model}")
        return resolved, resolved.family

    def _plan(self, examples: Sequence[Example]) -> StepPlan:
        spec, groups = self.spec, None
        if spec.share_images and spec.examples_per_step > 1:
            numbers: dict[tuple[str, ...], int] = {}
            groups = [
                # A text without pictures has nothing to share: it is a group of its own.
                numbers.setdefault(tuple(ref.path for ref in example.images) or (f"row {example.row}",), len(numbers))
                for example in examples
            ]
            if len(numbers) == len(examples):
                groups = None
        return StepPlan(len(examples), spec.examples_per_step, seed=spec.seed, groups=groups)

    def _layout(self, family: ModelFamily, collator: Collator, placed: placement.Placement, longest: int) -> Layout:
        spec = self.spec
        why_not = _why_not_packed(family, collator, placed)
        if spec.layout == "packed" and why_not:
            raise FamilyError("layout: packed is not possible here", why=why_not, hint="give --layout padded")
        if spec.layout == "padded" or why_not:
            self._decide("layout", "padded", why_not or "asked for")
            return PaddedLayout(collator, spec.batch_size)
        from mg_tui.engine.packed import PackedLayout
        from mg_tui.families.apart import ApartEncoder

        assert isinstance(collator, ExampleEncoder)
        budget = spec.token_budget or max(spec.batch_size * longest, _LEAST_BUDGET)
        why = "asked for" if spec.layout == "packed" else "tokens that examples share are computed once"
        self._decide("layout", f"packed, {budget:,} tokens a forward pass", why)
        return PackedLayout(ApartEncoder(collator), budget)

    def _model(self, family: ModelFamily, source: str, placed: placement.Placement) -> Any:
        spec = self.spec
        request = LoadRequest(
            source=source,
            dtype=placed.dtype,
            device=placed.device,
            quantization=placed.quantization,
            attention=placed.attention,
            revision=spec.revision,
            trust_remote_code=spec.trust_remote_code,
        )
        model = family.load_model(family, request)
        if spec.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return adapt.adapt(model, family, spec)

    def _make_trainer(
        self,
        model: Any,
        family: ModelFamily,
        placed: placement.Placement,
        stream: StepStream,
        evaluation: Callable[[], Iterator[StepBatch]] | None,
        total: int,
        collator: Collator,
        examples: tuple[Sequence[Example], Sequence[Example]],
    ) -> Any:
        from mg_tui.engine.reporter import Reporter
        from mg_tui.engine.samples import Sampler, choose
        from mg_tui.engine.state import CheckpointStore, expected_bytes
        from mg_tui.engine.trainer import GardenTrainer
        from mg_tui.engine.vision import VisionInputs

        spec = self.spec
        encoder = collator if isinstance(collator, ExampleEncoder) else None
        sampler = Sampler(self.journal, encoder, choose(*examples, spec.sample_count))
        reporter = Reporter(self.journal, self.stopper, sampler, scaled=placed.dtype == "float16")
        about = {"run": self.folder.id, "attempt_from": self._start_step}
        store = CheckpointStore(
            self.folder, self.journal, keep=spec.save_total_limit, about=about, needed=expected_bytes(model)
        )
        if self.resume_from is not None:
            store.last_step = self._start_step
            from mg_tui.engine.state import load_trained

            load_trained(model, self.resume_from)
        frozen = spec.train_vision == "none" and spec.train_projector == "none"
        self._trainer = GardenTrainer(
            model=model,
            args=arguments.training_arguments(
                spec,
                placed,
                folder=self.folder.path,
                run=self.folder.id,
                total_steps=total,
                evaluates=evaluation is not None,
            ),
            callbacks=[reporter],
            stream=stream,
            eval_batches=evaluation,
            store=store,
            stopper=self.stopper,
            journal=self.journal,
            vision=VisionInputs(frozen=frozen),
            tolerate_bad_rows=spec.on_bad_row == "skip",
        )
        reporter.trainer = self._trainer
        return self._trainer

    def _end_of_training(self, trainer: Any, total: int) -> None:
        if trainer.failures:
            self.journal.write(
                "warning",
                what=f"{len(trainer.failures)} times an example could not be read and was left out",
                where=f"rows {', '.join(sorted({str(failure.row) for failure in trainer.failures}))}",
                why=trainer.failures[0].what,
            )
        if self.step < total:
            self.stopper.check()

    def _save(
        self,
        trainer: Any,
        model: Any,
        processor: Any,
        family: ModelFamily,
        resolved: Any,
        placed: placement.Placement,
        ready: data.TrainingData,
        table: dict[str, dict[str, Any]],
        began: float,
    ) -> dict[str, Any]:
        from mg_tui.engine.reporter import memory
        from mg_tui.engine.result import ResultFacts, save_result

        spec, seconds = self.spec, time.monotonic() - began
        self._phase("saving the result")
        losses = {entry["step"]: entry for entry in trainer.state.log_history if "step" in entry}
        eval_loss = next((e["eval_loss"] for e in reversed(list(losses.values())) if "eval_loss" in e), None)
        target = Path(spec.output_dir) if spec.output_dir else self.folder.model_dir
        saved = save_result(
            trainer.accelerator.unwrap_model(trainer.model),
            processor,
            spec=spec,
            family=family,
            base=resolved,
            folder=target,
            facts=ResultFacts(
                final_loss=trainer.facts.loss,
                eval_loss=eval_loss,
                steps=self.step,
                epochs=trainer.state.epoch,
                examples=len(ready.train),
                eval_examples=len(ready.evaluation),
                skipped_rows=ready.skipped,
                seconds=seconds,
                trainable_parameters=sum(part["trained"] for part in table.values()),
                total_parameters=sum(part["parameters"] for part in table.values()),
                trained_parts={name: part["trained"] for name, part in table.items() if part["trained"]},
                device=placed.device_title,
                peak_device_memory=memory()["device_memory_peak"],
            ),
            dtype=placed.dtype,
            quantization=placed.quantization,
            run=self.folder.id,
        )
        return {
            "steps": self.step,
            "seconds": round(seconds, 2),
            "result": str(saved),
            "metrics": {"loss": trainer.facts.loss, "eval_loss": eval_loss},
        }


def _why_not_packed(family: ModelFamily, collator: Collator, placed: placement.Placement) -> str | None:
    if family.layout is None:
        return f"{family.title} does not say how its pictures are laid out"
    if not isinstance(collator, ExampleEncoder):
        return f"{family.title} has a collator of its own"
    if placed.attention not in ("sdpa", "eager"):
        return f"attention {placed.attention} takes no mask of a tree"
    return None


def _evaluation(examples: Sequence[Example], layout: Layout) -> Callable[[], Iterator[StepBatch]] | None:
    if not examples:
        return None

    def batches(at_once: int = 16) -> Iterator[StepBatch]:
        for start in range(0, len(examples), at_once):
            some = examples[start : start + at_once]
            yield StepBatch(start // at_once, layout(some, open_pictures(some)))

    return batches
