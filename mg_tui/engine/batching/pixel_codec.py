"""Pixels on their way from data workers to the model, as bytes instead of floats.

An image processor maps every byte to a float32, by an affine function per channel, and repeats an image as two equal
frames for some models. So batches would have four to eight times the size of the images. Decoding uses a table of the
values that the processor computed: the result is bit for bit the same, or the pixels are passed unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeGuard

import torch
from torch import Tensor

PIXEL_VALUES: Final = "pixel_values"  # what processors call them
_BYTES, _TABLE, _SHAPE = "pixel_bytes", "pixel_table", "pixel_shape"
_BYTE_VALUES: Final = 256


@dataclass(frozen=True, slots=True)
class PixelCodec:
    """The function from bytes to pixel values: for channel c, `(byte * scale - mean[c]) / std[c]`."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_processor(cls, image_processor: Any) -> Self | None:
        """The codec of a transformers image processor; None when its settings are not known."""
        scale = image_processor.rescale_factor if getattr(image_processor, "do_rescale", False) else 1.0
        mean: Any = getattr(image_processor, "image_mean", None)
        std: Any = getattr(image_processor, "image_std", None)
        if (
            not _is_number_sequence(mean)
            or not _is_number_sequence(std)
            or len(mean) != len(std)
            or not scale
            or not all(std)
        ):
            return None
        if not getattr(image_processor, "do_normalize", False):
            mean, std = [0.0] * len(mean), [1.0] * len(std)
        return cls(float(scale), tuple(map(float, mean)), tuple(map(float, std)))

    def encode(self, inputs: dict[str, Any]) -> None:
        """Replace the pixels in a forward's arguments by bytes and a table, where that is lossless.

        Supported are pixels (..., channels, height, width), and (patches, values) with the values channel by channel,
        each channel's once or, for two frames, twice.
        """
        pixels: Any = inputs.get(PIXEL_VALUES)
        if not torch.is_tensor(pixels) or not pixels.is_floating_point():
            return
        encoded = self._bytes_of(pixels)
        if encoded is not None:
            del inputs[PIXEL_VALUES]
            inputs[_BYTES], inputs[_TABLE] = encoded
            inputs[_SHAPE] = tuple(pixels.shape)

    def _bytes_of(self, pixels: Tensor) -> tuple[Tensor, Tensor] | None:
        by_channel = self._by_channel(pixels)
        if by_channel is None:
            return None
        channel = torch.tensor([self.mean, self.std], dtype=pixels.dtype)[:, None, :, None]
        codes = by_channel.mul(channel[1]).add_(channel[0]).div_(self.scale).round_()
        if codes.numel() and not (codes.amin() >= 0 and codes.amax() < _BYTE_VALUES):  # also false for NaN
            return None
        codes = codes.to(torch.uint8)
        table = torch.zeros((len(self.mean), _BYTE_VALUES), dtype=pixels.dtype)
        # If several values have one byte, any is stored: decoding is then not exact, and not used.
        table.view(-1)[_table_indices(codes)] = by_channel
        return (codes, table) if torch.equal(_decode(codes, table), by_channel) else None

    def _by_channel(self, pixels: Tensor) -> Tensor | None:
        """A view (images or patches, channels, values), with one of two equal frames; None for other layouts."""
        channels = len(self.mean)
        if pixels.dim() >= 4 and pixels.shape[-3] == channels:
            return pixels.reshape(-1, channels, pixels.shape[-2] * pixels.shape[-1])
        if pixels.dim() != 2 or pixels.shape[1] % channels:
            return None
        by_channel = pixels.reshape(len(pixels), channels, -1)
        half = by_channel.shape[2] // 2
        twice = by_channel.shape[2] % 2 == 0 and torch.equal(by_channel[..., :half], by_channel[..., half:])
        return by_channel[..., :half] if twice else by_channel


def decode_pixels(inputs: dict[str, Any]) -> None:
    """Replace bytes by the processor's pixel values, bit for bit; does nothing without bytes."""
    if _BYTES not in inputs:
        return
    codes, table, shape = inputs.pop(_BYTES), inputs.pop(_TABLE), inputs.pop(_SHAPE)
    decoded = _decode(codes, table)
    times = torch.Size(shape).numel() // max(decoded.numel(), 1)
    inputs[PIXEL_VALUES] = (decoded.repeat(1, 1, times) if times > 1 else decoded).view(shape)


def _decode(codes: Tensor, table: Tensor) -> Tensor:
    return table.view(-1).index_select(0, _table_indices(codes).view(-1)).view(codes.shape)


def _table_indices(codes: Tensor) -> Tensor:
    """Indices into the flattened table (channels, 256) of the values of bytes."""
    return codes.int() + torch.arange(codes.shape[1], dtype=torch.int32, device=codes.device)[:, None] * _BYTE_VALUES


def _is_number_sequence(values: Any) -> TypeGuard[Sequence[float]]:
    return isinstance(values, Sequence) and bool(values) and all(isinstance(value, int | float) for value in values)
