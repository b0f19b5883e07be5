"""Merges an adapter into the files of its base model, layer by layer.

The model is built without weights. What plain LoRA changes is read, changed and written by blocks of rows. A layer
with another kind of adapter gets its weights from the base model's file, is merged by PEFT itself, and is emptied
again. Both give PEFT's numbers bit for bit. All other tensors are copied from file to file. Files and names of tensors
are those of the base model.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import RunFailed
from mg_tui.core.precision import DTypeName
from mg_tui.engine.results.dequantize import QUANTIZATION_KEY, QuantizedWeight, find_quantized
from mg_tui.engine.results.merge_layers import (
    TIE_KEY,
    adapted_layers,
    attach_without_weights,
    changed_parameters,
    find_odd_layer,
    is_inside,
    low_rank_update,
    merge_parameter,
    require_numbers,
    tied_names,
)
from mg_tui.engine.results.safetensors_files import (
    INDEX_FILE,
    SINGLE_FILE,
    StoredTensor,
    list_weight_files,
    read_tensors,
)
from mg_tui.engine.results.safetensors_writing import Buffers, NewTensor, RowBlocks, TensorWriter, write_index
from mg_tui.runs.result_metadata import MODEL_CONFIG, read_json_object


@dataclass(slots=True)
class MergePlan:
    """What a merge writes: the tensors of each file by the file's name, in order.

    Attributes:
        files: the new files.
        layers: number of layers that the adapter changes.
        untied: whether the output layer gets weights of its own.
        architecture: the class of the whole model.
    """

    files: dict[str, list[NewTensor]]
    layers: int
    untied: bool
    architecture: str

    @property
    def nbytes(self) -> int:
        """The size of all tensors in bytes."""
        return sum(tensor.nbytes for tensors in self.files.values() for tensor in tensors)


@dataclass(slots=True)
class _Base:
    """The base model's tensors by the names they have in the model; `names` are these by the names in the files."""

    names: dict[str, str]
    tensors: dict[str, StoredTensor]
    quantized: dict[str, QuantizedWeight]

    def read(self, name: str, dtype: str) -> Any:
        """A weight in a dtype, if it is one of floating point numbers."""
        import torch

        if (quantized := self.quantized.get(name)) is not None:
            return quantized.make(dtype)
        weight = self.tensors[name].read()
        return weight.to(getattr(torch, dtype)) if weight.is_floating_point() else weight


def plan_merge(model: Any, base: Path, adapter: Path, dtype: DTypeName) -> MergePlan | str:
    """Plan the merge of the adapter in a folder into the base model in another one; nothing is written.

    Args:
        model: the base model, loaded: its class, its configuration and how it names the weights of the files are used.
        base: the base model's folder, with its weights.
        adapter: the adapter's folder.
        dtype: of the merged weights.

    Returns:
        The plan, or why this model or adapter cannot be merged file by file.

    Raises:
        UsageError: files are missing or damaged.
        RunFailed: a layer of the adapter is not in the base model's files.
    """
    rename = _renaming(model)
    if rename is None:
        return "transformers makes this model's weights of several tensors of its files"
    adapted = attach_without_weights(model, adapter)
    if (odd := find_odd_layer(adapted)) is not None:
        return f"the adapter has a layer of the kind {odd}"
    files = {file.name: read_tensors(file) for file in list_weight_files(base)}
    stored = {tensor.name: tensor for tensors in files.values() for tensor in tensors}
    quantized, constants = find_quantized(stored)
    names = {name: rename(name) for name in stored if name not in constants}
    weights = _Base(
        names,
        {new: stored[name] for name, new in names.items()},
        {names[name]: each for name, each in quantized.items()},
    )
    return _plan(adapted, files, weights, dtype)


def write_merge(plan: MergePlan, base: Path, staging: Path) -> None:
    """Write the merged weights, their index if there are several files, and config.json.

    Args:
        plan: of `plan_merge`; its layers are used up.
        base: the base model's folder.
        staging: where the files are written.

    Raises:
        RunFailed: merging makes weights that are no numbers.
        OSError: they cannot be written.
    """
    with TensorWriter() as writer:
        for name, tensors in plan.files.items():
            writer.write(staging / name, tensors)
    if list(plan.files) != [SINGLE_FILE]:
        write_index(staging / INDEX_FILE, plan.files.items())
    dtype = next((t.dtype for tensors in plan.files.values() for t in tensors if "float" in t.dtype), None)
    _write_config(base / MODEL_CONFIG, staging / MODEL_CONFIG, plan, dtype)


def _renaming(model: Any) -> Callable[[str], str] | None:
    """From the names in files to those in the model; None where a weight is made of several tensors."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    conversions = get_model_conversion_mapping(model)
    if any(isinstance(each, WeightConverter) for each in conversions):
        return None
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    state = model.state_dict()

    def rename(name: str) -> str:
        return str(rename_source_key(name, renamings, [], model.base_model_prefix, state)[0])

    return rename


def _plan(adapted: Any, files: Mapping[str, list[StoredTensor]], base: _Base, dtype: DTypeName) -> MergePlan:
    inner = adapted.get_base_model()
    layers = adapted_layers(adapted)
    owners: dict[str, str] = {}
    for name, layer in layers.items():
        owners |= {f"{name}.{parameter}": name for parameter in changed_parameters(layer)}
    # What the adapter's file has beside the layers: biases, or whole embeddings that other programs save.
    given = {
        name: parameter.data
        for name, parameter in inner.named_parameters()
        if not parameter.is_meta and not is_inside(name, layers)
    }
    ties = tied_names(inner)
    untied = ties is not None and any(name in given or name in owners for name in ties)
    if untied and ties is not None:
        base.tensors[ties[1]] = base.tensors[ties[0]]
    if lost := [name for name in owners if name not in base.tensors]:
        raise RunFailed("a layer of the adapter is not in the base model's files", why=", ".join(sorted(lost)[:3]))

    def merged(layer: str, name: str) -> Any:
        return merge_parameter(
            layers[layer], name.removeprefix(f"{layer}."), lambda each: base.read(f"{layer}.{each}", dtype)
        )

    def blocks(name: str) -> RowBlocks | None:
        update = low_rank_update(layers[owners[name]])
        if update is None or name in base.quantized:
            return None

        stored = base.tensors[name]

        def make(first: int, end: int, buffers: Buffers) -> Any:
            rows = buffers.take("rows", (end - first, *stored.shape[1:]), _torch_dtype(stored.dtype))
            stored.read_into(rows, first)
            merged = update.add_to(rows.to(_torch_dtype(dtype)), first, end, buffers)
            require_numbers(name, merged)
            return merged

        return RowBlocks(make)

    def tensor(name: str, label: str) -> NewTensor:
        stored, quantized = base.tensors[name], base.quantized.get(name)
        number = dtype if stored.is_floating or quantized is not None else stored.dtype
        shape = quantized.shape if quantized is not None else stored.shape
        if name in owners:
            source = blocks(name) or (lambda: merged(owners[name], name).to(_torch_dtype(number)))
            return NewTensor(label, number, shape, source)
        if name in given:
            return NewTensor(label, number, shape, lambda: given[name].to(_torch_dtype(number)))
        if quantized is None and stored.dtype == number:
            return NewTensor(label, number, shape, stored)
        return NewTensor(label, number, shape, lambda: base.read(name, number))

    planned: dict[str, list[NewTensor]] = {}
    for file, tensors in files.items():
        planned[file] = [tensor(base.names[each.name], each.name) for each in tensors if each.name in base.names]
        missing = untied and ties is not None and ties[1] not in base.names.values()
        if ties is not None and missing and base.tensors[ties[0]].file.name == file:
            planned[file].append(tensor(ties[1], ties[1]))
    return MergePlan(planned, len(layers), untied, type(inner).__name__)


def _torch_dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)


def _write_config(source: Path, target: Path, plan: MergePlan, dtype: str | None) -> None:
    """The base model's config.json, changed where the merged model differs; else byte for byte."""
    before = read_json_object(source)
    after = copy.deepcopy(before)
    after.pop(QUANTIZATION_KEY, None)
    after["architectures"] = [plan.architecture]
    for part in (after, *(value for value in after.values() if isinstance(value, dict))):
        for key in ("dtype", "torch_dtype"):
            if key in part and dtype is not None:
                part[key] = dtype
        if plan.untied and TIE_KEY in part:
            part[TIE_KEY] = False
    if dtype is not None and not {"dtype", "torch_dtype"} & after.keys():
        after["torch_dtype"] = dtype
    if plan.untied:
        after[TIE_KEY] = False
    if after == before:
        target.write_bytes(source.read_bytes())
    else:
        target.write_text(json.dumps(after, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
