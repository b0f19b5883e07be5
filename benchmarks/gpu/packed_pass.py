"""Packed forward passes of random rows, and optimizer steps of one forward pass as in training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from device import Device

from mg_tui.engine.batching import packed_layout
from mg_tui.engine.batching.batches import MicroBatch
from mg_tui.engine.batching.pixel_codec import PixelCodec
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute.objective import Objective
from mg_tui.engine.layout.trie import Trie, build_trie

QUESTION_TOKENS, ANSWER_TOKENS = 32, 32


@dataclass(frozen=True, slots=True)
class PassShape:
    """A packed pass of at most `tokens`, with square images of `side` patches and `per_image` questions about each."""

    side: int
    tokens: int
    per_image: int = 1


def random_sequences(shape: PassShape, config: dict[str, Any]) -> tuple[list[list[int]], int]:
    """The rows of a pass as token ids, negative ones for image tokens, by image; and the number of images."""
    text = config.get("text_config", config)
    image_tokens, first_special = (shape.side // 2) ** 2, config["image_token_id"]
    words = min(int(text["vocab_size"]), first_special)  # no image or other special token among them
    generator = torch.Generator().manual_seed(0)
    length = QUESTION_TOKENS + ANSWER_TOKENS
    sequences: list[list[int]] = []
    total, images = 0, 0
    while not sequences or total + image_tokens + shape.per_image * length <= shape.tokens:
        texts = torch.randint(1, words - 1, (shape.per_image, length), generator=generator).tolist()
        sequences += [[-1 - images] * image_tokens + ids for ids in texts]
        total, images = total + image_tokens + shape.per_image * length, images + 1
    return sequences, images


def make_batch(shape: PassShape, config: dict[str, Any], device: Device) -> MicroBatch:
    """A forward pass, on the device."""
    sequences, images = random_sequences(shape, config)
    trie = build_trie(sequences)
    inputs = {**_text_inputs(trie, sequences, config["image_token_id"]), **_image_inputs(shape.side, images, config)}
    positions, targets = [], []
    for index, sequence in enumerate(sequences):
        positions += trie.layout_indices(index)[-ANSWER_TOKENS - 1 : -1]
        targets += sequence[-ANSWER_TOKENS:]
    return MicroBatch(
        inputs={name: value.to(device.name) if torch.is_tensor(value) else value for name, value in inputs.items()},
        positions=torch.tensor(positions, device=device.name),
        targets=torch.tensor(targets, device=device.name),
        rows=tuple(range(1, len(sequences) + 1)),
        tokens=trie.tokens,
        images=len(sequences),
        laid_out=trie.length,
    )


def _text_inputs(trie: Trie, sequences: list[list[int]], image_token: int) -> dict[str, Any]:
    ids, positions = torch.zeros(trie.length, dtype=torch.long), torch.zeros(trie.length, dtype=torch.long)
    for index, sequence in enumerate(sequences):
        places = trie.layout_indices(index)
        ids[places] = torch.tensor([image_token if token < 0 else token for token in sequence])
        positions[places] = torch.arange(len(sequence))
    return {
        "input_ids": ids[None],
        "position_ids": positions[None, None].expand(3, 1, -1).contiguous(),
        packed_layout.SUBTREE_ENDS: torch.tensor(trie.subtree_ends()),
    }


def _image_inputs(side: int, images: int, config: dict[str, Any]) -> dict[str, Any]:
    vision = config["vision_config"]
    frames, area = vision.get("temporal_patch_size", 2), vision.get("patch_size", 14) ** 2
    size = (images * side**2, 3, 1, area)
    codes = torch.randint(0, 256, size, generator=torch.Generator().manual_seed(1))
    inputs: dict[str, Any] = {"pixel_values": (codes / 255 - 0.5).expand(-1, -1, frames, -1).flatten(1).contiguous()}
    PixelCodec(1 / 255, (0.5,) * 3, (1.0,) * 3).encode(inputs)  # as data workers send them
    return {
        **inputs,
        packed_layout.IMAGE_ORDER: torch.arange(images),
        packed_layout.IMAGE_DIGESTS: [None] * images,
        packed_layout.IMAGE_SIZES: [(side * 14, side * 14)] * images,
        "image_grid_thw": torch.tensor([[1, side, side]] * images),
    }


class Stepper:
    """Optimizer steps of one forward pass, with a learning rate of 0: all steps have the same loss.

    Args:
        model: as `model.load_engine_model` returns it.
        device: where it is.
    """

    def __init__(self, model: Any, device: Device):
        self.model = model
        self.device = device
        self.objective = Objective(model)
        self.vision = VisionInputs(frozen=True)
        self.mean_loss: Callable[[MicroBatch], torch.Tensor] = self._mean_loss
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0, fused=not device.dry)

    def step(self, part: MicroBatch) -> float:
        """One step; returns the loss."""
        with self.objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
            with torch.autocast(self.device.name.partition(":")[0], torch.bfloat16, enabled=not self.device.dry):
                loss = self.mean_loss(part)
            loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)  # gradients stay allocated between the passes of a step
        self.device.synchronize()
        return float(loss.detach())

    def _mean_loss(self, part: MicroBatch) -> torch.Tensor:
        inputs = self.vision(self.model, part.inputs)
        return self.objective.loss_sum(self.model, inputs, part.positions, part.targets) / part.targets.numel()
