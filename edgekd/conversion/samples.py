"""Feeds for a model that somebody else wrote: arrays of a file, pictures of a folder, or noise that says so.

They are split once: every fourth different sample judges (``heldout``), the others calibrate, and no sample does
both, by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError

from edgekd.contracts import Array, ImageSpec, IoSpec, TensorSpec, check_feeds
from edgekd.errors import InputError, nearest
from edgekd.pictures import folder_pictures, read_picture
from edgekd.storage import read_arrays, row, sha256_arrays, sha256_file
from edgekd.toml import first_problem, not_finite, read_toml

LEAST_SAMPLES = 4  # three calibrate, one judges
MOST_PICTURES = 256  # of a folder, evenly from its sorted list
MOST_HELDOUT = 32  # every arrow runs them all
EVERY = 4  # the share that judges
RANDOM_SAMPLES = 8


class Samples(Protocol):
    """Feeds by index, each sample with the model's own shape, batch axis included."""

    origin: str  # what they are, for the manifest

    def __len__(self) -> int: ...

    def sample(self, index: int) -> dict[str, Array]: ...

    def fingerprint(self, index: int) -> str:
        """sha256 of the content."""


class Preprocess(ImageSpec):
    """``--preprocess FILE.toml``: how a folder's pictures become the feeds of one input.

    The whole picture is resized to ``size`` (width, height in pixels), whatever its own proportions.
    """

    size: tuple[int, int] = Field(description="width, height in pixels")
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class ArraySamples:
    """``--calibration FILE.npz``: one array per input, of shape (samples, *the input's shape)."""

    def __init__(self, path: Path, io: IoSpec) -> None:
        self._arrays = read_arrays(path)
        self.origin = path.name
        wanted = {t.name: t for t in io.inputs}
        for name in self._arrays:
            if name not in wanted:
                raise InputError(f"{path}: the model has no input {name!r}", fix=nearest(name, wanted))
        for name, spec in wanted.items():
            if name not in self._arrays:
                raise InputError(f"{path} has no array {name!r}", f"the model takes {', '.join(wanted)}")
            _check_array(self._arrays[name], spec, path)
        counts = {name: len(value) for name, value in self._arrays.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"{path}: the arrays hold {counts} samples", "every input needs as many")

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def sample(self, index: int) -> dict[str, Array]:
        return row(self._arrays, index)

    def fingerprint(self, index: int) -> str:
        return sha256_arrays(self.sample(index))


class PictureSamples:
    """``--calibration DIR --preprocess FILE.toml``, read and resized when they are asked for."""

    def __init__(self, folder: Path, preprocess: Preprocess, io: IoSpec) -> None:
        if len(io.inputs) != 1:
            names = ", ".join(t.name for t in io.inputs)
            raise InputError(f"pictures are one input, and the model takes {names}", fix="--calibration FILE.npz")
        self._spec, self._preprocess = io.inputs[0], preprocess
        files = folder_pictures(folder)
        chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_PICTURES)).round().astype(int))
        self._files = [files[i] for i in chosen]
        self.origin = f"{len(self._files)} of {len(files)} pictures of {folder.name}"
        shape = self.sample(0)[self._spec.name].shape
        if not self._spec.fits(shape):
            why = f"a picture becomes {list(shape)}, and {self._spec.name} is {list(self._spec.shape)}"
            raise InputError("--preprocess does not fit the model", why, "mend size, layout or color")

    def __len__(self) -> int:
        return len(self._files)

    def sample(self, index: int) -> dict[str, Array]:
        made = self._preprocess
        resized = Image.fromarray(read_picture(self._files[index])).resize(
            made.size, Image.Resampling[made.resampler.upper()]
        )
        values = made.normalized(np.asarray(resized))
        if made.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return {self._spec.name: np.ascontiguousarray(values[None], dtype=self._spec.dtype)}

    def fingerprint(self, index: int) -> str:
        return sha256_file(self._files[index])


class RandomSamples:
    """Without a calibration: seeded noise, standard normal or 0 and 1 for integers. No picture looks like it."""

    def __init__(self, io: IoSpec, seed: int = 0) -> None:
        for spec in io.inputs:
            free = [axis for axis in spec.shape if isinstance(axis, str)]
            if free:
                raise InputError(
                    f"the axis {free[0]} of the input {spec.name} has no size, and there is no calibration",
                    "gates need feeds of some size",
                    f"--calibration FILE.npz, or --shape {free[0]}=SIZE",
                )
        self._io, self._seed = io, seed
        self.origin = f"{RANDOM_SAMPLES} random feeds, seed {seed}"

    def __len__(self) -> int:
        return RANDOM_SAMPLES

    def sample(self, index: int) -> dict[str, Array]:
        rng = np.random.default_rng((self._seed, index))
        feeds = {}
        for spec in self._io.inputs:
            shape = [int(axis) for axis in spec.shape]
            floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
            value = rng.normal(size=shape) if floating else rng.integers(0, 2, shape)
            feeds[spec.name] = np.asarray(value).astype(spec.dtype)
        return feeds

    def fingerprint(self, index: int) -> str:
        return sha256_arrays(self.sample(index))


class Part:
    """Some of the samples, streamed: a ``Calibration``."""

    def __init__(self, samples: Samples, chosen: Sequence[int], io: IoSpec) -> None:
        self._samples, self._chosen, self._io = samples, tuple(chosen), io
        self.sha256 = hashlib.sha256("".join(samples.fingerprint(i) for i in chosen).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for index in self._chosen:
            yield check_feeds(self._io, self._samples.sample(index))


def split(samples: Samples, io: IoSpec) -> tuple[Part, Part]:
    """(calibration, held-out), which share no sample by content.

    Raises:
        InputError: fewer than four different samples.
    """
    seen: dict[str, int] = {}
    for index in range(len(samples)):
        seen.setdefault(samples.fingerprint(index), index)
    different = list(seen.values())
    if len(different) < LEAST_SAMPLES:
        raise InputError(
            f"{samples.origin}: {len(different)} different samples, at least {LEAST_SAMPLES} are needed",
            "some calibrate and others judge; 100 or more are usual",
        )
    heldout = different[EVERY - 1 :: EVERY]
    spread = np.unique(np.linspace(0, len(heldout) - 1, min(len(heldout), MOST_HELDOUT)).round().astype(int))
    fitting = sorted(set(different) - set(heldout))
    return Part(samples, fitting, io), Part(samples, [heldout[i] for i in spread], io)


def read_preprocess(path: Path) -> Preprocess:
    """Raises InputError that names file, key and nearest match."""
    data = read_toml(path)
    try:
        made = Preprocess.model_validate(data)
    except ValidationError as error:
        raise first_problem(error, data, Preprocess, str(path)) from None
    if key := not_finite(data):
        raise InputError(f"{path}: {key} cannot be used", "it is NaN or infinite", "give a finite number")
    channels = 1 if made.color == "L" else 3
    for key, values in (("mean", made.mean), ("std", made.std)):
        if len(values) < channels:
            raise InputError(f"{path}: {key} has {len(values)} values", f"{made.color} has {channels} channels")
        if not np.isfinite(values).all() or (key == "std" and 0 in values):
            raise InputError(f"{path}: {key} = {list(values)} cannot be used", "it must be finite; std not 0")
    if min(made.size) < 1:
        raise InputError(f"{path}: size = {list(made.size)} cannot be used", "width and height are positive")
    return made


def with_examples(io: IoSpec, feeds: dict[str, Array]) -> IoSpec:
    """The spec with the shape that the samples have, for inputs that may have another."""

    def filled(spec: TensorSpec) -> TensorSpec:
        dynamic = any(isinstance(axis, str) for axis in spec.shape)
        return spec.model_copy(update={"example": feeds[spec.name].shape}) if dynamic else spec

    return io.model_copy(update={"inputs": tuple(map(filled, io.inputs))})


def _check_array(value: Array, spec: TensorSpec, path: Path) -> None:
    if not np.issubdtype(value.dtype, np.number) and value.dtype != np.bool_:
        raise InputError(f"{path}: {spec.name} holds {value.dtype}", f"the model takes {spec.dtype}")
    if not (value.ndim == len(spec.shape) + 1 and spec.fits(value.shape[1:])):
        raise InputError(
            f"{path}: {spec.name} has shape {list(value.shape)}",
            f"it must be [samples, {', '.join(map(str, spec.shape))}]: samples stacked, each as the model takes it",
            "np.stack the feeds",
        )
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        raise InputError(f"{path}: {spec.name} holds NaN or infinity", "nothing can be judged on it")
    if np.dtype(spec.dtype).kind in "iub" and value.dtype.kind == "f":
        raise InputError(f"{path}: {spec.name} holds {value.dtype}", f"the model takes {spec.dtype}")
