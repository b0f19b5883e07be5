"""The components of a run: processor, plan, layout, loader, model. Each choice has a reason, for the journal."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.example_table import columns_of
from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.batching import token_counts
from mg_tui.engine.batching.batches import PaddedLayout, StepDataset, StepLayout
from mg_tui.engine.batching.feature_cache import FeatureCache
from mg_tui.engine.batching.image_files import FileFacts
from mg_tui.engine.batching.pixel_codec import PixelCodec
from mg_tui.engine.batching.step_stream import StepStream, choose_worker_count
from mg_tui.engine.compute import optimizations
from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
from mg_tui.engine.compute.optimizations import DecisionFields
from mg_tui.engine.inference.loading import translate_out_of_memory
from mg_tui.engine.layout.partition import StepPartition
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.engine.run import parameter_groups, trainable_parameters, transformers_contract, unsloth_backend
from mg_tui.engine.run.memory_probe import MemoryProbe, memory_meter_of
from mg_tui.engine.run.placement import Placement, choose_placement
from mg_tui.engine.run.token_budget import TokenBudget, choose_token_budget
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.families.auto import AUTO_KEY, NOT_GUARANTEED
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Collator, LoadRequest, Preprocessing, Unsupported
from mg_tui.families.family import ModelFamily
from mg_tui.families.image_limits import require_effective_limits
from mg_tui.families.registry import ResolvedModel, load_registry
from mg_tui.hardware.host import has_free_shared_memory
from mg_tui.preflight.token_counter import counter_identity


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a run needs before its weights: family, processor, collator and placement."""

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
        """The collator if it is the default one, which also encodes prompts; else None."""
        return self.collator if isinstance(self.collator, ExampleEncoder) else None


def load_run_context(spec: TrainingSpec, cache: Path | None = None) -> RunContext:
    """Load everything but the weights.

    Args:
        spec: the run.
        cache: the garden's cache folder, for token counts; None caches none.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: a required device, library or download is missing.
    """
    placement = choose_placement(spec)
    decisions = placement.decisions()
    backend = "transformers"
    if spec.backend == "unsloth":
        why_not = unsloth_backend.import_unsloth(placement)
        backend = "unsloth" if why_not is None else "transformers"
        decisions.append(("backend", backend, why_not or "requested"))
    resolved = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True, choice=spec.family)
    family = resolved.family
    if family is None:
        raise FamilyError(f"no model family is installed for {spec.base_model}")
    preprocessing = Preprocessing(spec.min_pixels, spec.max_pixels, spec.system_prompt)
    hub = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    processor = family.load_processor(family, resolved.source, preprocessing, **hub)
    if family.has_default_processor or family.image_size is not None:
        require_effective_limits(family, processor, preprocessing)
    collator = family.make_collator(family, processor, preprocessing, train_on_prompt=spec.train_on_prompt)
    measure, measure_reason = token_counts.choose_token_measure(
        collator, cache=cache, identity=counter_identity(spec, resolved)
    )
    if family.key == AUTO_KEY:
        decisions.append(("family", family.title, f"--family auto: {NOT_GUARANTEED}"))
    decisions.append(("token counts", "exact", measure_reason))
    return RunContext(resolved, family, processor, collator, measure, placement, backend, decisions)


def choose_layout(
    spec: TrainingSpec, context: RunContext, data: TrainingData, resume_from: Path | None = None
) -> tuple[StepLayout, TokenBudget | None, list[DecisionFields]]:
    """How the examples of a step become forward passes, and the token budget of packed ones.

    Args:
        spec: the run.
        context: see `load_run_context`.
        data: its rows.
        resume_from: the checkpoint to resume from.

    Raises:
        FamilyError: the packed layout was requested and is not possible.
    """
    why_not = _why_not_packed(context)
    if spec.layout == "packed" and why_not:
        raise FamilyError("layout: packed is not possible here", why=why_not, hint="give --layout padded")
    if spec.layout == "padded" or why_not or context.encoder is None:
        pixel_codec = PixelCodec.from_processor(getattr(context.processor, "image_processor", None))
        layout = PaddedLayout(context.collator, spec.batch_size, data.lengths, pixel_codec)
        why = f"{why_not or 'requested'}; rows of similar length are put side by side"
        return layout, None, [("layout", "padded", why)]
    from mg_tui.engine.batching.packed_layout import PackedLayout
    from mg_tui.families.split_encoding import SplitEncoder

    token_budget = choose_token_budget(
        spec, context.resolved, context.placement, data, encoder=context.encoder, resume_from=resume_from
    )
    why = "requested" if spec.layout == "packed" else "tokens that examples share are computed once"
    decisions = [("layout", "packed", why), ("token budget", token_budget.tokens, token_budget.why)]
    if token_budget.sufficient_tokens is not None:
        why = "on a CPU longer passes are hardly faster, and need more memory"
        decisions.append(
            ("passes of rows that share nothing", f"end at {token_budget.sufficient_tokens:,} tokens", why)
        )
    return (
        PackedLayout(
            SplitEncoder(context.encoder), token_budget.tokens, sufficient_tokens=token_budget.sufficient_tokens
        ),
        token_budget,
        decisions,
    )


def make_memory_probe(
    context: RunContext,
    data: TrainingData,
    plan: StepPlan,
    steps: range,
    token_budget: TokenBudget | None,
    on_measured: Callable[[dict[str, Any]], None],
) -> tuple[MemoryProbe | None, list[DecisionFields]]:
    """The probe of the largest forward pass; None, with the reason, where nothing is to be measured.

    Args:
        context: see `load_run_context`.
        data: its rows.
        plan: which of them form a step.
        steps: the optimizer steps that are left.
        token_budget: the token budget.
        on_measured: called with the measurement (event fields).
    """
    if token_budget is None or token_budget.bounds is None or not steps:
        return None, []
    meter = memory_meter_of(context.placement)
    if meter is None:
        why = "the CPU's allocator tells no peak of its own; a step that is too large is not caught there either"
        return None, [("first-step probe", "skipped", why)]
    indices = sorted({index for number in steps[: plan.steps_per_epoch] for index in plan.step(number)})
    worst = [
        [data.train[index] for index in sorted(indices, key=key, reverse=True)[: plan.per_step]]
        for key in (data.tokens.__getitem__, columns_of(data.train).answers.__getitem__)
    ]
    return MemoryProbe(meter, token_budget, worst, on_measured), []


def _why_not_packed(context: RunContext) -> str | None:
    shared = context.family.capability("shared_prefixes")
    if isinstance(shared, Unsupported):
        return shared.why
    if context.encoder is None:
        return f"{context.family.title} has a collator of its own"
    if context.placement.attention != "sdpa":  # the others take additive masks or none
        return f"attention {context.placement.attention} takes no mask of a tree"
    if (problem := transformers_contract.image_features_problem()) is not None:
        return problem
    return "unsloth's attention takes no mask of a tree" if context.backend == "unsloth" else None


def make_feature_cache(
    spec: TrainingSpec, context: RunContext, plan: StepPlan, layout: StepLayout, *, total: int, folder: Path
) -> tuple[FeatureCache | None, list[DecisionFields]]:
    """The cache of image features in `folder`, or None with the reason; enabled once the model is loaded."""
    why_not = None
    if spec.vision_cache == "off":
        why_not = "requested"
    elif not is_vision_frozen(spec):
        why_not = "the vision tower or the projector is trained"
    elif isinstance(kept := context.family.capability("kept_features"), Unsupported):
        why_not = kept.why
    elif isinstance(layout, PaddedLayout) or context.encoder is None:
        why_not = "only the packed layout takes images apart from text"
    elif spec.vision_cache == "auto" and total <= plan.steps_per_epoch:
        why_not = "no image comes a second time: there is one epoch"
    if why_not is not None or context.encoder is None:
        if spec.vision_cache == "on":
            raise FamilyError("vision_cache: features cannot be cached", why=why_not, hint="give --vision-cache auto")
        return None, [("vision cache", "off", why_not or "")]
    folder.mkdir(parents=True, exist_ok=True)
    room = min(int(spec.vision_cache_size * 2**30), shutil.disk_usage(folder).free // 2)
    return FeatureCache(FeatureStore(folder, room), context.encoder.processor.image_processor.to_dict()), []


def is_vision_frozen(spec: TrainingSpec) -> bool:
    """Whether the features of an image are the same at every step."""
    return spec.train_vision == "none" and spec.train_projector == "none"


def open_step_stream(
    spec: TrainingSpec,
    context: RunContext,
    examples: Sequence[Example],
    plan: StepPlan,
    layout: StepLayout,
    *,
    start: int,
    total: int,
    cache: FeatureCache | None = None,
    partition: StepPartition | None = None,
    image_facts: Mapping[str, FileFacts] | None = None,
) -> tuple[StepStream, list[DecisionFields]]:
    """The loader of the steps from `start` to `total`, with its workers already started."""
    from mg_tui.engine.batching.packed_layout import CachedImageOpener

    workers, why = choose_worker_count(spec.workers, cuda=context.placement.cuda)
    chosen: list[DecisionFields] = [("data workers", workers, why)]
    roomy = has_free_shared_memory()
    opener = CachedImageOpener(cache) if cache is not None else None
    stream = StepStream(
        StepDataset(examples, plan, layout, opener, partition, image_facts),
        start=start,
        total=total,
        workers=workers if start < total else 0,
        pin_memory=context.placement.cuda,
        shared_memory=roomy,
        give_back=spec.gradient_checkpointing and not context.placement.cuda,  # the heap is what steps have
    )
    stream.open()
    if workers and not roomy:
        why = "less than 1 GiB of shared memory is free in /dev/shm (containers: --shm-size 2g)"
        chosen.append(("hand-over from data workers", "pipes", why))
    return stream, chosen


def load_model(
    spec: TrainingSpec,
    context: RunContext,
    warn: Callable[[str, str], None] | None = None,
    device: str | None = None,
) -> tuple[Any, list[DecisionFields]]:
    """The model, prepared for training. `warn` is called with (what, why) on a problem.

    `device`: where it is loaded; by default the device of the run.

    Raises:
        EnvironmentProblem: it does not fit, or cannot be loaded.
        FamilyError: the checkpoint does not match the family, or lacks a part to be trained.
        UsageError: parts that cannot be trained together.
    """
    placement = context.placement
    request = LoadRequest(
        source=context.resolved.source,
        dtype=placement.dtype,
        device=device or placement.device,
        quantization=placement.quantization,
        attention=placement.attention,
        revision=spec.revision,
        trust_remote_code=spec.trust_remote_code,
    )
    with translate_out_of_memory(context.resolved.name):
        if context.backend == "unsloth":
            model = unsloth_backend.load_unsloth_model(request, spec)
        else:
            model = context.family.load_model(context.family, request)
            if spec.gradient_checkpointing:
                checkpoint_activations(model, spec.checkpointing_interval)
        model = trainable_parameters.make_trainable(model, context.family, spec)
        own = context.backend == "transformers"  # unsloth has patched the modules that would be changed
        trees = _why_not_packed(context) is None
        if not own:
            return model, []
        declared = context.family.attention
        causal = declared.kind == "causal" and not declared.windows
        return model, optimizations.apply_optimizations(
            model, trees=trees, requested=spec.attention, warn=warn, causal=causal
        )


def trainable_summary(spec: TrainingSpec, context: RunContext, model: Any) -> dict[str, dict[str, Any]]:
    """See `trainable_parameters.trainable_summary`; with the peak learning rate of each trained part."""
    table = trainable_parameters.trainable_summary(model, context.family, spec)
    rates: dict[str, float] = dict(parameter_groups.part_learning_rates(spec).items())
    for part, entry in table.items():
        entry["learning_rate"] = rates.get(part) if entry["trained"] else None
    return table
