"""The pieces of a run: processor, plan, layout, loader, model. Each choice comes with its reason, for the journal."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.batching import token_counts
from mg_tui.engine.batching.batches import EvaluationBatches, PaddedLayout, StepDataset, StepLayout
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.batching.pixel_codec import PixelCodec
from mg_tui.engine.batching.step_stream import StepStream, choose_worker_count, has_free_shared_memory
from mg_tui.engine.compute import optimizations
from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
from mg_tui.engine.inference.loading import translate_out_of_memory
from mg_tui.engine.layout.partition import StepPartition, World
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.engine.run import parameter_groups, trainable_parameters, unsloth_backend
from mg_tui.engine.run.memory_probe import MemoryProbe, memory_meter_of
from mg_tui.engine.run.placement import Placement, choose_placement
from mg_tui.engine.run.token_budget import TokenBudget, choose_token_budget
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Collator, LoadRequest, Preprocessing
from mg_tui.families.family import ModelFamily
from mg_tui.families.registry import ResolvedModel, load_registry
from mg_tui.preflight.memory import image_token_counter

DecisionFields = tuple[str, Any, str]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run stands on before the weights: family, processor, collator, and where it will run."""

    resolved: ResolvedModel
    family: ModelFamily
    processor: Any
    collator: Collator
    measure: token_counts.TokenMeasure
    placement: Placement
    backend: str
    decisions: list[DecisionFields]

    @property
    def encoder(self) -> ExampleEncoder | None:
        """The collator when it is the default one, which also encodes prompts."""
        return self.collator if isinstance(self.collator, ExampleEncoder) else None


def load_run_context(spec: TrainingSpec) -> RunContext:
    """Everything but the weights.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: a device, library or download that is needed is not there.
    """
    placed = choose_placement(spec)
    decisions = placed.decisions()
    backend = "transformers"
    if spec.backend == "unsloth":
        why_not = unsloth_backend.import_unsloth(placed)
        backend = "unsloth" if why_not is None else "transformers"
        decisions.append(("backend", backend, why_not or "asked for"))
    resolved = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True)
    family = resolved.family
    if family is None:
        raise FamilyError(f"no model family is installed for {spec.base_model}")
    limits = Preprocessing(spec.min_pixels, spec.max_pixels, spec.system_prompt)
    hub = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    processor = family.load_processor(family, resolved.source, limits, **hub)
    collator = family.make_collator(family, processor, limits, train_on_prompt=spec.train_on_prompt)
    measure, how = token_counts.choose_token_measure(collator)
    decisions.append(("token counts", "exact", how))
    return RunContext(resolved, family, processor, collator, measure, placed, backend, decisions)


def plan_steps(spec: TrainingSpec, examples: Sequence[Example]) -> StepPlan:
    """Which examples meet in a step."""
    shown = None
    if spec.share_images and spec.examples_per_step > 1:
        numbers: dict[tuple[str, ...], int] = {}
        shown = [
            # A text without images has nothing to share: it is a group of its own.
            numbers.setdefault(tuple(ref.path for ref in example.images) or (f"row {example.row}",), len(numbers))
            for example in examples
        ]
        if len(numbers) == len(examples):
            shown = None
    per_step = spec.examples_per_step * World.from_environment().size
    return StepPlan(len(examples), per_step, seed=spec.seed, groups=shown)


def make_step_partition(
    spec: TrainingSpec, base: RunContext, ready: TrainingData, plan: StepPlan
) -> StepPartition | None:
    """How steps are parted among the processes of the run; None when it is the only one."""
    world = World.from_environment()
    if world.size == 1:
        return None
    count = image_token_counter(base.resolved, spec)
    shown = [
        sum(count(info.width, info.height, spec.min_pixels, spec.max_pixels) for info in ready.infos_of(example))
        if count is not None
        else 0
        for example in ready.train
    ]
    return StepPartition(world, ready.tokens, plan.groups, shown)


def choose_layout(
    spec: TrainingSpec, base: RunContext, ready: TrainingData, resumed: Path | None = None
) -> tuple[StepLayout, TokenBudget | None, list[DecisionFields]]:
    """How the examples of a step become forward passes, and how long a packed one may be.

    Args:
        spec: the run.
        base: what it stands on.
        ready: its rows.
        resumed: the checkpoint that is gone on from.

    Raises:
        FamilyError: the packed layout was asked for and is not possible.
    """
    why_not = _why_not_packed(base)
    if spec.layout == "packed" and why_not:
        raise FamilyError("layout: packed is not possible here", why=why_not, hint="give --layout padded")
    if spec.layout == "padded" or why_not or base.encoder is None:
        levels = PixelCodec.from_processor(getattr(base.processor, "image_processor", None))
        layout = PaddedLayout(base.collator, spec.batch_size, ready.lengths, levels)
        why = f"{why_not or 'asked for'}; rows of similar length are put side by side"
        return layout, None, [("layout", "padded", why)]
    from mg_tui.engine.batching.packed_layout import PackedLayout
    from mg_tui.families.split_encoding import SplitEncoder

    sizing = choose_token_budget(spec, base.resolved, base.placement, ready, encoder=base.encoder, resumed=resumed)
    why = "asked for" if spec.layout == "packed" else "tokens that examples share are computed once"
    decisions = [("layout", "packed", why), ("token budget", sizing.tokens, sizing.why)]
    if sizing.enough is not None:
        why = "on a CPU longer passes are hardly faster, and need more memory"
        decisions.append(("passes of rows that share nothing", f"end at {sizing.enough:,} tokens", why))
    return PackedLayout(SplitEncoder(base.encoder), sizing.tokens, enough=sizing.enough), sizing, decisions


def make_memory_probe(
    base: RunContext,
    ready: TrainingData,
    plan: StepPlan,
    steps: range,
    sizing: TokenBudget | None,
    measured: Callable[[dict[str, Any]], None],
) -> tuple[MemoryProbe | None, list[DecisionFields]]:
    """What measures the worst forward pass before the first step; None, and why, where nothing is to be measured.

    Args:
        base: what the run stands on.
        ready: its rows.
        plan: which of them meet.
        steps: the optimizer steps that are left.
        sizing: the token budget.
        measured: told what was found.
    """
    if sizing is None or sizing.bounds is None or not steps:
        return None, []
    meter = memory_meter_of(base.placement)
    if meter is None:
        why = "the CPU's allocator tells no peak of its own; a step that is too large is not caught there either"
        return None, [("first-step probe", "skipped", why)]
    met = sorted({index for number in steps[: plan.steps_per_epoch] for index in plan.step(number)})
    worst = [
        [ready.train[index] for index in sorted(met, key=key, reverse=True)[: plan.per_step]]
        for key in (ready.tokens.__getitem__, lambda index: len(ready.train[index].response))
    ]
    return MemoryProbe(meter, sizing, worst, measured), []


def _why_not_packed(base: RunContext) -> str | None:
    if base.family.layout is None:
        return f"{base.family.title} does not say how its images are laid out"
    if base.encoder is None:
        return f"{base.family.title} has a collator of its own"
    if base.placement.attention != "sdpa":  # the others want numbers to add, or no mask at all, not what may be seen
        return f"attention {base.placement.attention} takes no mask of a tree"
    return "unsloth's attention takes no mask of a tree" if base.backend == "unsloth" else None


def make_feature_cache(
    spec: TrainingSpec, base: RunContext, plan: StepPlan, layout: StepLayout, *, total: int, folder: Path
) -> tuple[FeatureCache | None, list[DecisionFields]]:
    """Where features of images are kept in `folder`, or None where they are not; opened once the model is there."""
    why_not = None
    if spec.vision_cache == "off":
        why_not = "asked for"
    elif not is_vision_frozen(spec):
        why_not = "the vision tower or the projector is trained"
    elif isinstance(layout, PaddedLayout) or base.encoder is None:
        why_not = "only the packed layout takes images apart from text"
    elif spec.vision_cache == "auto" and total <= plan.steps_per_epoch:
        why_not = "no image comes a second time: there is one epoch"
    if why_not is not None or base.encoder is None:
        if spec.vision_cache == "on":
            raise FamilyError(
                "vision_cache: features cannot be kept here", why=why_not, hint="give --vision-cache auto"
            )
        return None, [("vision cache", "off", why_not or "")]
    folder.mkdir(parents=True, exist_ok=True)
    room = min(int(spec.vision_cache_size * 2**30), shutil.disk_usage(folder).free // 2)
    return FeatureCache(FeatureStore(folder, room), base.encoder.processor.image_processor.to_dict()), []


def is_vision_frozen(spec: TrainingSpec) -> bool:
    """Whether what an image becomes is the same at every step."""
    return spec.train_vision == "none" and spec.train_projector == "none"


def open_step_stream(
    spec: TrainingSpec,
    base: RunContext,
    examples: Sequence[Example],
    plan: StepPlan,
    layout: StepLayout,
    *,
    start: int,
    total: int,
    cache: FeatureCache | None = None,
    shares: StepPartition | None = None,
) -> tuple[StepStream, list[DecisionFields]]:
    """The loader of the steps from `start` to `total`, its workers reading ahead already."""
    from mg_tui.engine.batching.packed_layout import CachedImageOpener

    workers, why = choose_worker_count(spec.workers, cuda=base.placement.cuda)
    chosen: list[DecisionFields] = [("data workers", workers, why)]
    roomy = has_free_shared_memory()
    stream = StepStream(
        StepDataset(examples, plan, layout, CachedImageOpener(cache) if cache is not None else None, shares),
        start=start,
        total=total,
        workers=workers if start < total else 0,
        pin_memory=base.placement.cuda,
        shared_memory=roomy,
        give_back=spec.gradient_checkpointing and not base.placement.cuda,  # the heap is what steps have
    )
    stream.open()
    if workers and not roomy:
        why = "less than 1 GiB of shared memory is free in /dev/shm (containers: --shm-size 2g)"
        chosen.append(("hand-over from data workers", "pipes", why))
    return stream, chosen


def load_model(
    spec: TrainingSpec, base: RunContext, warn: Callable[[str, str], None] | None = None
) -> tuple[Any, list[DecisionFields]]:
    """The model on its device, with what is to be trained trainable. `warn` is told (what, why) if all is not well.

    Raises:
        EnvironmentProblem: it does not fit, or cannot be loaded.
        FamilyError: the checkpoint does not fit the family or what is asked of it.
        UsageError: parts that cannot be trained together.
    """
    placed = base.placement
    request = LoadRequest(
        source=base.resolved.source,
        dtype=placed.dtype,
        device=placed.device,
        quantization=placed.quantization,
        attention=placed.attention,
        revision=spec.revision,
        trust_remote_code=spec.trust_remote_code,
    )
    with translate_out_of_memory(base.resolved.name):
        if base.backend == "unsloth":
            model = unsloth_backend.load_unsloth_model(request, spec)
        else:
            model = base.family.load_model(base.family, request)
            if spec.gradient_checkpointing:
                checkpoint_activations(model, spec.checkpointing_interval)
        model = trainable_parameters.make_trainable(model, base.family, spec)
        own = base.backend == "transformers"  # unsloth has patched what would be changed
        trees = _why_not_packed(base) is None
        return model, optimizations.apply_optimizations(
            model, trees=trees, asked=spec.attention, warn=warn
        ) if own else []


def trainable_summary(spec: TrainingSpec, base: RunContext, model: Any) -> dict[str, dict[str, Any]]:
    """What is trained, by part (see `adapt.trained_table`), and the peak learning rate of what is."""
    table = trainable_parameters.trainable_summary(model, base.family, spec)
    rates: dict[str, float] = dict(parameter_groups.part_learning_rates(spec).items())
    for part, entry in table.items():
        entry["learning_rate"] = rates.get(part) if entry["trained"] else None
    return table


def make_evaluation_batches(spec: TrainingSpec, base: RunContext, ready: TrainingData) -> EvaluationBatches | None:
    """The batches of an evaluation, or None when nothing is held out. Padded: without gradients there is room."""
    if not ready.evaluation:
        return None
    return EvaluationBatches(ready.evaluation, PaddedLayout(base.collator, max(spec.batch_size, 4)))
