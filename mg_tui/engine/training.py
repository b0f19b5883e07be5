"""One run from spec to result: data read and measured, model loaded, steps done, result saved.

The order is chosen so that what can be wrong is found before what takes long: rows before weights, and the processes
that read pictures are forked before a model's memory is there to be forked with them. Libraries are imported where they
are first needed: the first bad row is named before torch is there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine import arguments, data, startup
from mg_tui.engine.compute import heap
from mg_tui.engine.guard import checkpoint
from mg_tui.engine.guard.stopping import Stopper
from mg_tui.runs.doing import StepNote
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter

if TYPE_CHECKING:
    from mg_tui.engine.assemble import Base
    from mg_tui.engine.guard.energy import Usage
    from mg_tui.engine.sizing import Sizing
    from mg_tui.engine.steps.batches import EvaluationBatches
    from mg_tui.engine.steps.stream import StepStream
    from mg_tui.engine.steps.vision import VisionInputs
    from mg_tui.engine.trainer import GardenTrainer


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
        used: Mapping[str, float] | None = None,
    ):
        self.folder = folder
        self.journal = journal
        self.stopper = stopper
        self.settings = settings
        self.cwd = cwd
        self.resume_from = resume_from
        self._used_before = dict(used or {})
        self._usage: Usage | None = None
        self.spec: TrainingSpec = folder.read_spec()
        self._trainer: GardenTrainer | None = None
        self._start_step = (checkpoint.step_of(resume_from) or 0) if resume_from else 0

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self._trainer.state.global_step) if self._trainer is not None else self._start_step

    def used(self) -> dict[str, Any]:
        """What the run used of its GPUs so far, all attempts together."""
        return self._used_before if self._usage is None else self._usage.so_far()

    def images_of(self, step: int, rows: Sequence[int]) -> list[str]:
        """The images of some rows of a step (from 1), as the dataset has them."""
        examples = self._trainer.stream.examples_of(step - 1) if self._trainer is not None else []
        return list(dict.fromkeys(ref.given for e in examples if e.row in rows for ref in e.images))

    def run(self) -> dict[str, Any]:
        """Do it all; returns what the `finished` event says.

        Raises:
            Stopped: somebody asked for an end.
            GardenError: for the person to read.
        """
        arguments.require_trackers(self.spec)
        self._phase("reading data")
        with self.stopper.at_once():
            dataset, held_out = self._read()
        self._phase("loading libraries")
        with self.stopper.at_once(), startup.gc_paused():
            from mg_tui.engine import assemble
            from mg_tui.engine.steps.features import tower_digest
            from mg_tui.engine.steps.vision import VisionInputs

            base = assemble.load_base(self.spec)
        self._decisions(base.decisions)
        self._phase("measuring rows")
        ready = data.settle(
            self.spec, dataset, held_out, measure_tokens=base.measure, folder=self.folder, journal=self.journal
        )
        plan = assemble.plan_steps(self.spec, ready.train)
        total = plan.total_steps(self.spec.epochs, self.spec.max_steps)
        layout, sizing, chosen = assemble.choose_layout(self.spec, base, ready, self.resume_from)
        features = self.settings.cache / "features"
        cache, keeping = assemble.feature_cache(self.spec, base, plan, layout, total=total, folder=features)
        stream, handing_over = assemble.open_stream(
            self.spec,
            base,
            ready.train,
            plan,
            layout,
            start=self._start_step,
            total=total,
            cache=cache,
            shares=assemble.shares(self.spec, base, ready, plan),
        )
        self._decisions([*chosen, *keeping, *handing_over])
        try:
            if not base.placement.cuda:  # where steps have their memory from the heap
                heap.spare() if self.spec.gradient_checkpointing else heap.hold()
            self._phase("loading model", base.resolved.name)
            with self.stopper.at_once(), startup.gc_paused():
                model, decisions = assemble.load_model(self.spec, base, self._warn)
                if cache is not None:
                    cache.open_for(tower_digest(model, base.family))
            self._decisions(decisions)
            table = assemble.trained_table(self.spec, base, model)
            self._write_plan(ready, total, table, sizing)
            vision = VisionInputs(
                frozen=assemble.vision_frozen(self.spec),
                cache=cache,
                decided=lambda value, why: self._decisions([("vision cache", value, why)]),
                always=self.spec.vision_cache == "on",
            )
            held_out_batches = assemble.evaluation(self.spec, base, ready)
            trainer = self._make_trainer(model, base, ready, stream, held_out_batches, total, vision)
            trainer.probe, decisions = assemble.make_probe(
                base, ready, plan, range(self._start_step, total), sizing, self._measured
            )
            self._decisions([*decisions, ("loss", *trainer.objective.how)])
            self._phase("training")
            self._train(trainer, total)
        finally:
            stream.close()
        self._after_training(trainer, total)
        self._phase("saving the result")
        from mg_tui.engine.finish import finish

        return finish(
            trainer,
            base,
            ready,
            table,
            spec=self.spec,
            folder=self.folder,
            journal=self.journal,
            used=self.used(),
            prices=self.settings.cost,
        )

    # --- the parts ---------------------------------------------------------------------------------------------------
    def _phase(self, name: str, detail: str | None = None) -> None:
        self.stopper.check()
        self.journal.write("phase", name=name, detail=detail)

    def _decisions(self, decisions: list[tuple[str, Any, str]]) -> None:
        for what, value, why in decisions:
            self.journal.write("decision", what=what, value=value, why=why)

    def _warn(self, what: str, why: str) -> None:
        self.journal.write("warning", what=what, why=why)

    def _read(self) -> tuple[Any, Any]:
        spec, cwd, cache = self.spec, self.cwd, self.settings.cache
        held_out = None
        if spec.eval_dataset:
            held_out = data.read(spec, spec.eval_dataset, cwd=cwd, cache=cache, evaluation=True)
        found = data.read(spec, spec.dataset, cwd=cwd, cache=cache)
        if found.recognised is not None:
            taken = f"{found.recognised.format}, {found.recognised.layout}"
            self._decisions([("dataset", taken, found.recognised.why)])
        return found, held_out

    def _measured(self, found: dict[str, Any]) -> None:
        self.journal.write("measured", **found)
        self._decisions([("token budget", found["budget"], found["why"])])

    def _write_plan(
        self, ready: data.TrainingData, total: int, table: dict[str, dict[str, Any]], sizing: "Sizing | None"
    ) -> None:
        estimate = sizing.estimate if sizing is not None else None
        self.journal.write(
            "plan",
            **data.facts(ready),
            steps=total,
            epochs=self.spec.epochs,
            examples_per_step=self.spec.examples_per_step,
            trainable=table,
            token_budget=sizing.tokens if sizing is not None else None,
            estimate_bytes=estimate.peak if estimate is not None else None,
            estimate={part.name: part.bytes for part in estimate.parts} if estimate is not None else None,
        )

    def _make_trainer(
        self,
        model: Any,
        base: "Base",
        ready: data.TrainingData,
        stream: "StepStream",
        evaluation: "EvaluationBatches | None",
        total: int,
        vision: "VisionInputs",
    ) -> "GardenTrainer":
        from mg_tui.engine.answers.samples import Sampler, choose
        from mg_tui.engine.groups import parameter_groups
        from mg_tui.engine.guard.energy import Usage, gpus_in_use
        from mg_tui.engine.guard.reporter import Reporter
        from mg_tui.engine.guard.state import CheckpointStore, expected_bytes
        from mg_tui.engine.trainer import GardenTrainer

        spec, placed = self.spec, base.placement
        sampler = Sampler(self.journal, base.encoder, choose(ready.train, ready.evaluation, spec.sample_count))
        reporter = Reporter(
            self.journal,
            self.stopper,
            sampler,
            scaled=placed.dtype == "float16",
            used=self.used,
            note=StepNote(self.folder),
        )
        self._usage = Usage(gpus_in_use(), self._used_before)
        about = {"run": self.folder.id, "data": data.fingerprint(ready.train), "steps": total}
        if self.resume_from is not None:
            self._compare(about)
        store = CheckpointStore(
            self.folder,
            self.journal,
            keep=spec.save_total_limit,
            about=about,
            needed=expected_bytes(model),
            keep_best=spec.keep_best,
        )
        store.last_step = self._start_step if self.resume_from is not None else None
        args = arguments.training_arguments(
            spec,
            placed,
            folder=self.folder.path,
            run=self.folder.id,
            total_steps=total,
            evaluates=evaluation is not None,
        )
        self._trainer = GardenTrainer(
            model=model,
            args=args,
            callbacks=[reporter],
            stream=stream,
            eval_batches=evaluation,
            store=store,
            stopper=self.stopper,
            journal=self.journal,
            vision=vision,
            tolerate_bad_rows=spec.on_bad_row == "skip",
            label_smoothing=spec.label_smoothing,
            groups=lambda model, decayed: parameter_groups(model, base.family, spec, decayed),
        )
        reporter.trainer = self._trainer
        return self._trainer

    def _compare(self, about: dict[str, Any]) -> None:
        """Say it when the data are not what they were: the steps to come are then others than they would have been."""
        assert self.resume_from is not None
        then = checkpoint.manifest_of(self.resume_from)
        if then.get("data") != about["data"]:
            self.journal.write(
                "warning",
                what="the training data have changed since the checkpoint was written",
                where=self.spec.dataset,
                why="rows were added, removed or edited, so the steps to come learn from other rows than planned",
                hint="put the old file back, or start a new run",
            )

    def _train(self, trainer: "GardenTrainer", total: int) -> None:
        if self._start_step < total:
            trainer.train(resume_from_checkpoint=str(self.resume_from) if self.resume_from else None)
        elif self.resume_from is not None:  # all steps were done before the result could be saved
            trainer.restore(self.resume_from)

    def _after_training(self, trainer: "GardenTrainer", total: int) -> None:
        if trainer.failures:
            rows = sorted({failure.row for failure in trainer.failures})
            self.journal.write(
                "warning",
                what=f"{len(trainer.failures)} times an example could not be read and was left out",
                where=f"rows {', '.join(map(str, rows))}",
                why=trainer.failures[0].what,
            )
        if self.step < total:
            self.stopper.check()
