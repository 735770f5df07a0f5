"""What Core ML takes in place of the io spec's arrays. Knows no torch."""

from __future__ import annotations

import numpy as np

from edgekd.contracts import Array, ImageSpec, TensorSpec


def takes_pictures(spec: TensorSpec) -> bool:
    """Whether Core ML can do this input's arithmetic itself: one picture, one factor for all of its channels."""
    if spec.image is None or spec.layout != "NCHW" or any(isinstance(axis, str) for axis in spec.shape):
        return False
    channels = 1 if spec.image.color == "L" else 3
    return spec.shape[:2] == (1, channels) and len(set(spec.image.std[:channels])) == 1


def factor(image: ImageSpec) -> float:
    """Of a pixel, 0..255."""
    return image.scale / image.std[0]


def offsets(image: ImageSpec) -> list[float]:
    """To each channel, after the factor."""
    return [-mean / image.std[0] for mean in image.mean[: 1 if image.color == "L" else 3]]


def to_pixels(value: Array, spec: TensorSpec) -> Array:
    """(1, C, H, W) as the io spec has it, back to 0..255 as the picture had it.

    What was no whole number of 255 (a picture that was resized in floating point) is rounded, as a picture is.
    """
    assert spec.image is not None
    shift = np.asarray(offsets(spec.image), np.float32).reshape(1, -1, 1, 1)
    return np.clip(np.rint((value - shift) / np.float32(factor(spec.image))), 0, 255).astype(np.float32)
