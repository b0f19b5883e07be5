"""Parameter groups: a learning rate for each part of the model; weight decay as without groups."""

from collections.abc import Container
from typing import Any

from mg_tui.core.model_parts import PartName
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.trainable_parameters import strip_peft_prefix
from mg_tui.families.family import ModelFamily


def part_learning_rates(spec: TrainingSpec) -> dict[PartName, float]:
    """The peak learning rate of each part."""
    return {
        "language": spec.learning_rate,
        "projector": spec.projector_learning_rate or spec.learning_rate,
        "vision": spec.vision_learning_rate or spec.learning_rate,
    }


def parameter_groups(
    model: Any, family: ModelFamily, spec: TrainingSpec, decayed: Container[str]
) -> list[dict[str, Any]] | None:
    """The optimizer's parameter groups; None when every part has the same learning rate.

    Groups are ordered language, projector, vision, with weight decay before without; a group without parameters is
    omitted. The schedule multiplies the learning rate of each, so warm-up and decay are the same for all. Weights
    in no part of the family go with the language model.

    Args:
        model: the model, prepared for training.
        family: says which part a weight belongs to.
        spec: the run.
        decayed: names of the parameters with weight decay (no biases, no norms).
    """
    rates = part_learning_rates(spec)
    if len(set(rates.values())) == 1:
        return None
    members: dict[tuple[PartName, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = family.parts.part_of(strip_peft_prefix(name)) or "language"
            members.setdefault((part, name in decayed), []).append(parameter)
    return [
        {"params": parameters, "lr": rates[part], "weight_decay": spec.weight_decay if decays else 0.0}
        for part in rates
        for decays in (True, False)
        if (parameters := members.get((part, decays)))
    ]
