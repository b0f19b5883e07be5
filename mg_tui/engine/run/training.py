"""One run from spec to result: read and measure the data, load the model, train, save the result.

The order is chosen so that errors show before slow work: rows before weights; and the data workers are forked before
the model's memory exists, which would be forked with them. Libraries are imported where they are first needed: a bad
row is reported before torch is imported.
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.mixture import describe_parts
from mg_tui.data.policy import read_policy
from mg_tui.engine.batching import rows
from mg_tui.engine.compute import malloc
from mg_tui.engine.layout.partition import World
from mg_tui.engine.monitoring.rank_health import RankHealth
from mg_tui.engine.monitoring.run_history import RunHistory, read_run_history
from mg_tui.engine.monitoring.stopping import StopHandler, StopRequested
from mg_tui.engine.run import due_work, gc_pause, training_arguments, training_data
from mg_tui.runs import checkpoint_format
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.current_step import CurrentStepWriter
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.pause import read_pause
from mg_tui.runs.ranks import RankNotes
from mg_tui.runs.spec_check import require_unchanged_spec

if TYPE_CHECKING:
    from mg_tui.engine.batching.step_stream import StepStream
    from mg_tui.engine.batching.vision_inputs import VisionInputs
    from mg_tui.engine.monitoring.gpu_usage import GpuUsage
    from mg_tui.engine.run.answer_metrics import AnswerMetrics
    from mg_tui.engine.run.distributed import GradientSync
    from mg_tui.engine.run.machines import MachineWatch
    from mg_tui.engine.run.ranks import RankReporter
    from mg_tui.engine.run.reporter import Reporter
    from mg_tui.engine.run.setup import RunContext
    from mg_tui.engine.run.token_budget import TokenBudget
    from mg_tui.engine.run.trainer import GardenTrainer


class TrainingRun:
    """A run in progress. `step` is the number of optimizer steps done, also after an error."""

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        stopper: StopHandler,
        settings: Settings,
        cwd: Path,
        resume_from: Path | None,
        history: RunHistory | None = None,
        health: RankHealth | None = None,
    ):
        self.world = World.from_environment()
        self.health = health
        self._sync: GradientSync | None = None
        self._sharded = False
        self.folder = folder
        # Where this process notes which rows and images it found: only one may do so in the run's folder.
        self._own_folder = folder if self.world.leads else RankNotes(folder.path).own_folder(self.world.rank)
        self.journal = journal
        self.stopper = stopper
        self.settings = settings
        self.cwd = cwd
        self.resume_from = resume_from
        self._history = history or RunHistory(cwd)
        self._previous_usage = dict(self._history.gpu_usage)
        self._changed_images: list[str] = []
        self._usage: GpuUsage | None = None
        require_unchanged_spec(folder, self._history.spec_digest, self._history.spec_values)
        self.spec: TrainingSpec = folder.read_spec()
        self._trainer: GardenTrainer | None = None
        self._reporter: Reporter
        self._start_step = (checkpoint_format.step_of(resume_from) or 0) if resume_from else 0

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self._trainer.state.global_step) if self._trainer is not None else self._start_step

    def gpu_usage(self) -> dict[str, Any]:
        """The GPU usage of the run so far, all attempts together."""
        return self._previous_usage if self._usage is None else self._usage.total()

    def image_paths_of(self, step: int, rows: Sequence[int]) -> list[str]:
        """The images of some rows of a step (from 1), as the dataset has them."""
        examples = self._trainer.stream.examples_of(step - 1) if self._trainer is not None else []
        return list(dict.fromkeys(ref.original for e in examples if e.row in rows for ref in e.images))

    def run(self) -> dict[str, Any]:
        """Do the whole run; returns the fields of the `finished` event.

        Raises:
            StopRequested: a stop was requested.
            GardenError: an error for the user.
        """
        training_arguments.require_trackers(self.spec)
        self._phase("reading data")
        with self.stopper.interruptible():
            dataset, held_out = self._read()
        self._phase("loading libraries")
        with self.stopper.interruptible(), gc_pause.gc_paused():
            from mg_tui.engine.batching.feature_cache import vision_digest
            from mg_tui.engine.batching.vision_inputs import VisionInputs
            from mg_tui.engine.run import evaluation_setup, setup, step_planning

            context = setup.load_run_context(self.spec, self.settings.cache)
        self._write_decisions(context.decisions)
        self._phase("measuring rows")
        data = training_data.prepare_training_data(
            self.spec, dataset, held_out, measure_tokens=context.measure, folder=self._own_folder, journal=self.journal
        )
        self._image_facts, self._changed_images = training_data.compare_images(self._own_folder, data)
        chosen = evaluation_setup.choose_metrics(self.spec, data, self.journal)
        plan = step_planning.plan_steps(self.spec, data.train, self._examples_per_step())
        total = plan.total_steps(self.spec.epochs, self.spec.max_steps)
        layout, token_budget, layout_decisions = setup.choose_layout(self.spec, context, data, self.resume_from)
        features = self.settings.cache / "features"
        cache, cache_decisions = setup.make_feature_cache(
            self.spec, context, plan, layout, total=total, folder=features
        )
        stream, stream_decisions = setup.open_step_stream(
            self.spec,
            context,
            data.train,
            plan,
            layout,
            start=self._start_step,
            total=total,
            cache=cache,
            image_facts=self._image_facts,
            partition=step_planning.make_step_partition(self.spec, context.resolved, data, plan),
        )
        self._write_decisions([*layout_decisions, *cache_decisions, *stream_decisions])
        try:
            self._meet_other_ranks(context, data, plan.per_step)
            if not context.placement.cuda:  # where steps allocate from the C heap
                malloc.trim_large() if self.spec.gradient_checkpointing else malloc.retain_freed()
            self._phase("loading model", context.resolved.name)
            with self.stopper.interruptible(), gc_pause.gc_paused():
                model, decisions = self._load_model(context, token_budget)
                if cache is not None:
                    cache.enable_for(vision_digest(model, context.family))
            self._write_decisions(decisions)
            table = setup.trainable_summary(self.spec, context, model)
            self._write_plan(data, total, plan.per_step, table, token_budget)
            vision = VisionInputs(
                frozen=setup.is_vision_frozen(self.spec),
                vision=context.family.vision,
                cache=cache,
                decided=lambda value, why: self._write_decisions([("vision cache", value, why)]),
                always=self.spec.vision_cache == "on",
            )
            answers = evaluation_setup.make_answer_metrics(
                self.spec,
                context,
                chosen if self.world.rank == 0 else None,
                model,
                total=total,
                folder=self.folder,
                journal=self.journal,
                features=features,
            )
            trainer = self._make_trainer(model, context, data, stream, answers, total, vision)
            trainer.probe, decisions = setup.make_memory_probe(
                context,
                data,
                plan,
                range(self._start_step, total),
                None if self._sharded else token_budget,
                self._write_measurement,
            )
            self._write_decisions([*decisions, ("loss", *trainer.objective.method)])
            self._phase("training")
            self._train(trainer, total)
        finally:
            stream.close()
        self._check_completion(trainer, total)
        if self.world.rank != 0:  # machine 0 has the result
            return {"steps": self.step, "result": None}
        self._phase("saving the result")
        from mg_tui.engine.run.finish import save_run_result

        return save_run_result(
            trainer,
            context,
            data,
            table,
            spec=self.spec,
            folder=self.folder,
            journal=self.journal,
            used=self.gpu_usage(),
            prices=self.settings.cost,
        )

    def _examples_per_step(self) -> int:
        """Examples of a step, of all processes together: those it began with on a resume, however many there are."""
        if self._start_step > 0 and self._history.examples_per_step is not None:
            return self._history.examples_per_step
        return self.spec.examples_per_step * self.world.size

    def _meet_other_ranks(self, context: "RunContext", data: training_data.TrainingData, per_step: int) -> None:
        """Set up the collectives, and see that all ranks are about to do the same. Data workers are forked before."""
        from mg_tui.engine.run.distributed import GradientSync
        from mg_tui.engine.run.ranks import meet_other_ranks

        self._sync = GradientSync(self.world, self.health)
        if self.world.size > 1:
            several = f" on {self.spec.nodes} machines, at {self.spec.rendezvous}" if self.spec.nodes > 1 else ""
            self._phase("meeting the other processes", f"{self.world.size} in all{several}")
            facts = {"resumes from step": self._start_step, "examples of a step": per_step}
            warnings = meet_other_ranks(
                self._sync, self.spec, context, data, facts, lambda: self.stopper.poll(raise_on="stop")
            )
            for what, why in warnings:
                self._warn(what, why)
            self._write_decisions([("processes", self.world.size, "one for each device")])

    def _load_model(
        self, context: "RunContext", token_budget: "TokenBudget | None"
    ) -> tuple[Any, list[tuple[str, Any, str]]]:
        """The model, whole or shared among the ranks; and the decisions."""
        from mg_tui.engine.run import setup

        if self.world.size == 1:
            if self.spec.parallel == "fsdp":
                self._warn("parallel: fsdp has no effect", "there is one training process; give --gpus or --processes")
            return setup.load_model(self.spec, context, self._warn)
        from mg_tui.engine.run import sharding

        parallel, why = sharding.choose_parallel(self.spec, context.placement, token_budget, self.sync)
        if parallel == "fsdp":
            loaded = sharding.load_sharded(self.spec, context, token_budget, self.sync, self._warn)
            if loaded.problem is None:
                self._sharded = True
                return loaded.model, [*loaded.decisions, ("parallel", "fsdp", f"{why}; {loaded.test}")]
            self._warn("weights are not shared among the processes: each has a whole model", loaded.problem)
            parallel, why = "ddp", f"the self-test of fsdp failed: {loaded.problem}"
        model, decisions = setup.load_model(self.spec, context, self._warn)
        return model, [*decisions, ("parallel", parallel, why)]

    @property
    def sync(self) -> "GradientSync":
        """The collectives of the run's processes."""
        assert self._sync is not None
        return self._sync

    def _phase(self, name: str, detail: str | None = None) -> None:
        self.stopper.poll(raise_on="stop")
        if self.health is not None:
            self.health.say(name)
        self.journal.write("phase", name=name, detail=detail)

    def _write_decisions(self, decisions: list[tuple[str, Any, str]]) -> None:
        for what, value, why in decisions:
            self.journal.write("decision", what=what, value=value, why=why)

    def _warn(self, what: str, why: str) -> None:
        self.journal.write("warning", what=what, why=why)

    def _read(self) -> tuple[Any, Any]:
        spec, cwd, cache = self.spec, self.cwd, self.settings.cache
        policy = read_policy(read_caller_bounds(self.folder.path))
        held_out = None
        if spec.eval_dataset:
            held_out = rows.read_dataset(spec, spec.eval_dataset, cwd=cwd, cache=cache, evaluation=True, policy=policy)
        dataset = rows.read_dataset(spec, spec.dataset, cwd=cwd, cache=cache, policy=policy)
        if dataset.detected_format is not None:
            value = f"{dataset.detected_format.format}, {dataset.detected_format.layout}"
            self._write_decisions([("dataset", value, dataset.detected_format.why)])
        self._write_decisions(describe_parts(dataset))
        return dataset, held_out

    def _write_measurement(self, measurement: dict[str, Any]) -> None:
        self.journal.write("measured", **measurement)
        self._write_decisions([("token budget", measurement["budget"], measurement["why"])])

    def _write_plan(
        self,
        data: training_data.TrainingData,
        total: int,
        per_step: int,
        table: dict[str, dict[str, Any]],
        token_budget: "TokenBudget | None",
    ) -> None:
        estimate = token_budget.estimate if token_budget is not None else None
        self.journal.write(
            "plan",
            **training_data.data_summary(data),
            steps=total,
            epochs=self.spec.epochs,
            examples_per_step=per_step,
            trainable=table,
            token_budget=token_budget.tokens if token_budget is not None else None,
            estimate_bytes=estimate.peak if estimate is not None else None,
            estimate={part.name: part.bytes for part in estimate.parts} if estimate is not None else None,
        )

    def _make_trainer(
        self,
        model: Any,
        context: "RunContext",
        data: training_data.TrainingData,
        stream: "StepStream",
        answer_metrics: "AnswerMetrics | None",
        total: int,
        vision: "VisionInputs",
    ) -> "GardenTrainer":
        from mg_tui.engine.checkpointing.checkpoint_store import CheckpointStore, expected_checkpoint_bytes
        from mg_tui.engine.inference.training_samples import SampleWriter, choose_sample_examples
        from mg_tui.engine.monitoring.budget import Budget
        from mg_tui.engine.monitoring.gpu_usage import GpuUsage, gpu_uuids_in_use
        from mg_tui.engine.monitoring.stop_grace import StopGrace, choose_stop_grace
        from mg_tui.engine.run import evaluation_setup
        from mg_tui.engine.run.answer_metrics import best_by
        from mg_tui.engine.run.distributed import GradientSync
        from mg_tui.engine.run.parameter_groups import parameter_groups
        from mg_tui.engine.run.reporter import Reporter
        from mg_tui.engine.run.trainer import GardenTrainer

        spec, placement, first = self.spec, context.placement, self.world.rank == 0
        if not first:  # rank 0 reports
            spec = spec.model_copy(update={"report_to": ()})
        if self._sharded and spec.sample_count:
            self._write_decisions([("samples", "none", "with fsdp one process alone cannot generate")])
        if not first or self._sharded:
            spec = spec.model_copy(update={"sample_count": 0})
        evaluation = evaluation_setup.make_evaluation_batches(
            context, data, spec.batch_size, GradientSync() if self._sharded else self.sync
        )
        sampler = SampleWriter(
            self.journal, context.encoder, choose_sample_examples(data.train, data.evaluation, spec.sample_count)
        )
        reporter = Reporter(
            self.journal,
            self.stopper,
            sampler,
            scaled=placement.dtype == "float16",
            used=self.gpu_usage,
            note=CurrentStepWriter(self.folder) if self.world.leads else None,
            watches=self._make_watches(),
        )
        gpus = list(itertools.chain(*self.sync.gather(gpu_uuids_in_use())))
        self._usage = GpuUsage(gpus if first else (), self._previous_usage)
        known = training_data.fingerprints(data.train, self._image_facts)
        about: dict[str, Any] = {"run": self.folder.id, "steps": total, **known}
        if self.resume_from is not None:
            training_data.warn_if_data_changed(
                spec, self.resume_from, about, journal=self.journal, images=self._changed_images
            )
        store = CheckpointStore(
            self.folder,
            self.journal,
            keep=spec.save_total_limit,
            about=about,
            needed=expected_checkpoint_bytes(model),
            best_by=best_by(spec) if self.world.leads else None,
        )
        store.last_step = self._start_step if self.resume_from is not None else None
        args = training_arguments.make_training_arguments(
            spec,
            placement,
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
            answer_metrics=answer_metrics,
            tolerate_bad_rows=spec.on_bad_row == "skip",
            label_smoothing=spec.label_smoothing,
            stop_grace=StopGrace(
                choose_stop_grace(spec.stop_grace, os.environ, processes=self.world.size), self.stopper
            ),
            make_groups=lambda model, decayed: parameter_groups(model, context.family, spec, decayed),
            sync=self.sync,
            health=self.health,
            sharded=self._sharded,
        )
        reporter.trainer = self._trainer
        if self.resume_from is not None:
            reporter.due_work = self.sync.from_first(self._find_due_work(self._start_step, total, self._history))
        if first:
            reporter.early_stopping = evaluation_setup.make_early_stopping(spec, self._history, self._start_step)
            reporter.budget = Budget(spec.max_cost, self.settings.cost, self.gpu_usage, self._history.seconds)
        reporter.pause = read_pause(self.folder)
        self._reporter = reporter
        return self._trainer

    def _make_watches(self) -> "list[RankReporter | MachineWatch]":
        """What watches the other processes while training; nothing in those that do not lead."""
        from mg_tui.engine.run.machines import MachineWatch
        from mg_tui.engine.run.ranks import RankReporter

        watches: list[RankReporter | MachineWatch] = []
        if self.world.size > 1 and self.world.leads:
            watches.append(RankReporter(self.folder, self.journal))
        if self.spec.nodes > 1 and self.world.leads:
            watches.append(MachineWatch(self.folder, self.world, self.spec.rank_timeout))
        return watches

    def _train(self, trainer: "GardenTrainer", total: int) -> None:
        stopping = self._reporter.early_stopping
        ended_early = self.sync.from_first(stopping is not None and stopping.reason is not None)
        if self._start_step < total and not ended_early:
            self._train_or_abandon(trainer)
        elif self.resume_from is not None:  # training had ended before the result could be saved
            trainer.restore_finished(self.resume_from)
            self._reporter.do_due_work(self.step)

    def _train_or_abandon(self, trainer: "GardenTrainer") -> None:
        """Train; a step that is abandoned for a stop leaves the checkpoint of the one before."""
        from mg_tui.engine.monitoring.stop_grace import StepAbandoned
        from mg_tui.engine.run.distributed import ConnectionLost

        try:
            trainer.train(resume_from_checkpoint=str(self.resume_from) if self.resume_from else None)
        except StepAbandoned as abandoned:
            self.journal.write("warning", what=f"step {self.step + 1} was abandoned for the stop", why=abandoned.why)
            trainer.save_without_step()
            raise StopRequested(self.stopper.stop_by or "a request") from None
        except ConnectionLost as lost:
            if not self.world.leads or self.health is None:
                raise
            from mg_tui.engine.run.ranks import end_after_loss

            raise end_after_loss(self.folder, self.health, trainer, self.spec.rank_timeout, lost) from lost

    def _find_due_work(self, step: int, total: int, history: RunHistory) -> due_work.DueWork:
        evaluates = getattr(self._trainer, "eval_batches", None) is not None
        return due_work.find_due_work(self.folder, self.spec, step, total, evaluates=evaluates, history=history)

    def _check_completion(self, trainer: "GardenTrainer", total: int) -> None:
        from mg_tui.engine.run.finish import report_row_failures

        report_row_failures(trainer.row_failures, self.journal)
        asked = [by for by in self.sync.gather(self.stopper.stop_by) if by is not None]
        if asked and self.stopper.stop_by is None and self.step < total:  # a stop on another machine, or of rank 0
            raise StopRequested(asked[0])
        stopped = self.stopper.stop_by is not None
        if self.step < total or (stopped and self._find_due_work(total, total, read_run_history(self.folder))):
            self.stopper.poll(raise_on="stop")
