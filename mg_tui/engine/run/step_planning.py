"""The plan of a run's steps: which examples form each step, and how a step is partitioned among processes."""

from collections.abc import Sequence

from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.example_table import columns_of
from mg_tui.engine.layout.partition import StepPartition, World
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.engine.run.training_data import TrainingData
from mg_tui.families.registry import ResolvedModel
from mg_tui.preflight.memory import image_token_counter


def plan_steps(spec: TrainingSpec, examples: Sequence[Example], per_step: int) -> StepPlan:
    """The plan: which examples form each step, `per_step` of them, of all processes together."""
    image_groups = None
    if spec.share_images and per_step > 1:
        columns = columns_of(examples)
        numbers: dict[object, int] = {}
        image_groups = [
            # Text without images shares nothing: each such example is a group of its own.
            numbers.setdefault(columns.images_of(index).tobytes() or index, len(numbers))
            for index in range(len(examples))
        ]
        if len(numbers) == len(examples):
            image_groups = None
    return StepPlan(len(examples), per_step, seed=spec.seed, groups=image_groups)


def make_step_partition(
    spec: TrainingSpec, model: ResolvedModel, data: TrainingData, plan: StepPlan
) -> StepPartition | None:
    """How steps are partitioned among the processes of the run; None when there is only one."""
    world = World.from_environment()
    if world.size == 1:
        return None
    count = image_token_counter(model, spec)
    image_tokens = [
        sum(count(info.width, info.height, spec.min_pixels, spec.max_pixels) for info in data.infos_of(example))
        if count is not None
        else 0
        for example in data.train
    ]
    return StepPartition(world, data.tokens, plan.groups, image_tokens)
