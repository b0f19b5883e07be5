"""What vLLM accepts as an adapter, checked from the files alone, before anything is loaded or written.

The list is that of vLLM 0.33 (`vllm/lora/peft_helper.py` and the documentation of its LoRA options). What vLLM would
drop without a word is refused as well: an adapter that is loaded and does nothing is worse than an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import first_few
from mg_tui.families.contract import Supported, Unsupported
from mg_tui.families.family import ModelFamily
from mg_tui.runs.result_metadata import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_json_object

RANK_SIZES: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # choices of --max-lora-rank
_SAVED_MODULES: Final = frozenset({"classifier", "score"})
_REFUSED_INITS: Final = ("pissa", "olora", "corda", "loftq")
_REFUSED_KEYS: Final = {
    "use_dora": "it is DoRA",
    "lora_bias": "it has biases of its own (lora_bias)",
    "alora_invocation_tokens": "it is activated by tokens (aLoRA)",
    "layer_replication": "it repeats layers (layer_replication)",
    "use_qalora": "it is QALoRA",
    "use_bdlora": "it is BD-LoRA",
    "trainable_token_indices": "it trains single tokens (trainable_token_indices)",
    "target_parameters": "it changes parameters that are no layers (target_parameters)",
}
_PREFIX: Final = "base_model.model."
_SUFFIXES: Final = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")


@dataclass(frozen=True, slots=True)
class VllmAdapter:
    """What vLLM has to be told of an adapter: its largest rank, and whether it changes the vision tower."""

    rank: int
    tower: bool

    @property
    def max_lora_rank(self) -> int:
        """The value of --max-lora-rank: the smallest choice that is large enough."""
        return next(size for size in RANK_SIZES if size >= self.rank)


def require_vllm_adapter(folder: Path, family: ModelFamily, model_type: str) -> VllmAdapter:
    """See that vLLM would load an adapter and apply all of it.

    Args:
        folder: the adapter's.
        family: of its base model; it knows which modules are the vision tower.
        model_type: of the base model's configuration.

    Raises:
        UsageError: it would not; all reasons at once.
    """
    from safetensors import safe_open

    config = read_json_object(folder / ADAPTER_CONFIG)
    with safe_open(folder / ADAPTER_WEIGHTS, framework="np") as file:  # header alone; numpy: torch is not imported
        keys = sorted(file.keys())
    rank = largest_rank(config)
    tower = has_tower_weights(keys, family)
    served = family.capability("vllm_adapter")
    reasons = [served.why] if isinstance(served, Unsupported) else []
    reasons += [*_config_reasons(config), *_rank_reasons(rank), *_key_reasons(keys, family)]
    # With --enable-tower-connector-lora; the family knows whether vLLM has that for its type.
    if tower and not isinstance(family.capability("vllm_tower_adapter"), Supported):
        reasons.append(f"it changes the vision tower, which vLLM ignores in models of the type {model_type}")
    if reasons:
        raise UsageError(
            "vLLM cannot serve this adapter",
            where=str(folder),
            why="; ".join(reasons),
            hint="export it merged into its base model with --merged",
        )
    return VllmAdapter(rank, tower)


def largest_rank(config: Mapping[str, Any]) -> int:
    """The largest rank of an adapter's layers."""
    patterns = config.get("rank_pattern") or {}
    return max([int(config.get("r") or 0), *(int(rank) for rank in patterns.values())])


def has_tower_weights(keys: list[str], family: ModelFamily) -> bool:
    """Whether weights of an adapter belong to the vision tower or the projector."""
    return any(family.parts.part_of(key.removeprefix(_PREFIX)) in ("vision", "projector") for key in keys)


def _config_reasons(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("peft_type")
    if kind != "LORA":
        yield f"it is no LoRA adapter but {kind}"
    for key, reason in _REFUSED_KEYS.items():
        if config.get(key):
            yield reason
    if config.get("bias") not in (None, "none"):
        yield f"it trains biases (bias: {config['bias']})"
    whole = [name for name in config.get("modules_to_save") or () if name not in _SAVED_MODULES]
    if whole:
        yield f"it has modules trained in full (modules_to_save: {', '.join(map(str, whole))})"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_REFUSED_INITS):
        yield f"it was initialized by {init}, which changes the base model's weights"


def _rank_reasons(rank: int) -> Iterator[str]:
    if not 1 <= rank <= RANK_SIZES[-1]:
        yield f"its rank is {rank}, and vLLM takes 1 to {RANK_SIZES[-1]}"


def _key_reasons(keys: list[str], family: ModelFamily) -> Iterator[str]:
    foreign = [key for key in keys if not key.endswith(_SUFFIXES)]
    if foreign:
        yield f"it has weights that are not of LoRA: {first_few(foreign, 3)}"
    lost = [
        key
        for key in keys
        if key not in foreign
        and family.parts.part_of(key.removeprefix(_PREFIX)) is None
        and not key.startswith(f"{_PREFIX}lm_head.")
    ]
    if lost:
        # vLLM loads such an adapter for some models, activates nothing and answers as the base model.
        yield f"it has weights under names that the model does not have: {first_few(lost, 3)}"
