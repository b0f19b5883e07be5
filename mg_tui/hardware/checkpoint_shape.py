"""The shape of a model whose family defines none: from its configuration and the headers of its weight files.

Only the headers of safetensors files are read, not the weights.
Linear layers are the matrices that are not embeddings. Their roles (gated MLP, grouped queries) are inferred from the
keys that nearly all configurations use.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mg_tui.core.errors import UsageError
from mg_tui.hardware.model_shape import LinearLayers, ModelShape, TransformerStack

TensorShapes = Mapping[str, tuple[int, ...]]
PartOf = Callable[[str], str | None]


def read_tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in the *.safetensors files of a folder.

    Raises:
        UsageError: there is no such file, or one is corrupted.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(
            "the model weights are not available locally", where=str(folder), why="no *.safetensors file found"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                shapes.update((name, tuple(weights.get_slice(name).get_shape())) for name in weights.keys())  # noqa: SIM118 - not iterable itself
        except (OSError, SafetensorError) as error:
            raise UsageError("a weights file is corrupted", where=str(file), why=str(error)) from None
    return shapes


def infer_model_shape(config: Mapping[str, Any], shapes: TensorShapes, part_of: PartOf) -> ModelShape:
    """The shape of a model by its configuration and the shapes of its tensors.

    Args:
        config: the checkpoint's `config.json`.
        shapes: by the names of the tensors in its files, which may differ from those in the loaded model.
        part_of: "language", "projector" or "vision" for a tensor name; None: guess the part from the name.

    Raises:
        UsageError: the configuration lacks a size that is needed.
    """
    text = {**config, **(config.get("text_config") or config.get("llm_config") or {})}
    vision = config.get("vision_config") or {}
    by_part: dict[str, dict[str, tuple[int, ...]]] = {"language": {}, "projector": {}, "vision": {}}
    for name, shape in shapes.items():
        by_part[part_of(name) or _guess_part(name)][name] = shape
    vocabulary = _require_size(text, "vocab_size")
    words = {name for name, shape in by_part["language"].items() if len(shape) == 2 and shape[0] == vocabulary}
    blocks = {name: shape for name, shape in by_part["language"].items() if name not in words}
    linears, rest = _linear_layers(by_part["projector"])
    patch = _optional_size(vision, 14, "patch_size")
    merge = _optional_size(vision, 0, "spatial_merge_size") or round(1 / float(config.get("downsample_ratio", 1)))
    return ModelShape(
        language=_transformer_stack(text, blocks, gated=True),
        vision=_transformer_stack(vision, by_part["vision"], gated=False),
        projector=linears,
        projector_other=rest,
        vocabulary=vocabulary,
        tied_embeddings=len(words) < 2,
        patches_per_token=max(merge, 1) ** 2,
        pixels_per_patch=patch**2,
        values_per_patch=3 * patch**2 * _optional_size(vision, 1, "temporal_patch_size"),
        exact=False,
    )


def _guess_part(name: str) -> str:
    lowered = name.lower()
    if any(word in lowered for word in ("projector", "merger", "connector", "multi_modal", "mlp1.", "aligner")):
        return "projector"
    return "vision" if any(word in lowered for word in ("vision", "visual", "image")) else "language"


def _linear_layers(shapes: TensorShapes) -> tuple[tuple[LinearLayers, ...], int]:
    """Matrices that are not embeddings, equal ones counted together, and the number of other parameters."""
    alike: Counter[tuple[str, int, int]] = Counter()
    other = 0
    for name, shape in shapes.items():
        if len(shape) == 2 and "embed" not in name.lower():
            kind = ".".join(piece for piece in name.split(".")[-3:-1] if not piece.isdigit())
            alike[kind, shape[1], shape[0]] += 1
        else:
            other += prod(shape)
    return tuple(LinearLayers(kind, wide, high, times) for (kind, wide, high), times in alike.items()), other


def _transformer_stack(config: Mapping[str, Any], shapes: TensorShapes, *, gated: bool) -> TransformerStack:
    linears, other = _linear_layers(shapes)
    if not linears:
        return TransformerStack(0, 0, 0, 0, 0, 0, (), other)
    width = _require_size(config, "hidden_size", "embed_dim", "width", "d_model", "dim")
    heads = _require_size(config, "num_attention_heads", "num_heads", "n_heads")
    inner = _optional_size(config, 0, "intermediate_size", "mlp_dim", "ffn_dim") or round(
        width * float(config.get("mlp_ratio") or 4)
    )
    gated = gated or any("gate" in linear.name for linear in linears)
    return TransformerStack(
        depth=_require_size(config, "num_hidden_layers", "depth", "num_layers", "n_layers"),
        width=width,
        intermediate=inner,
        heads=heads,
        kv_heads=_optional_size(config, heads, "num_key_value_heads"),
        head_dim=_optional_size(config, 0, "head_dim") or width // heads,
        linears=linears,
        other_parameters=other,
        gated=gated,
        fused=any("qkv" in linear.name for linear in linears),
    )


def _require_size(config: Mapping[str, Any], *names: str) -> int:
    size = _optional_size(config, 0, *names)
    if not size:
        raise UsageError("cannot estimate the model's memory", why=f"its config.json has no {names[0]}")
    return size


def _optional_size(config: Mapping[str, Any], default: int, *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return default
