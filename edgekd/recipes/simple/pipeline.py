"""Arrays in, arrays out: what a sample is, the network takes as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Arrays, IoSpec
from edgekd.errors import InputError
from edgekd.storage import read_arrays, row


class Pipeline:
    """A raw sample is what the io spec is fed, without batch axis; a prediction what it gives, without one."""

    def __init__(self, io: IoSpec) -> None:
        self.io = io

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The samples of one npz file that holds every input: one sample, or several along a first axis.

        Raises:
            InputError: several files, or arrays that are not the inputs.
        """
        if len(inputs) != 1:
            raise InputError(
                f"{len(inputs)} files are given", "one npz file holds all inputs", "edgekd predict B x.npz"
            )
        path = next(iter(inputs.values()))
        arrays = read_arrays(Path(path))
        wanted = {t.name: t for t in self.io.fed}
        if set(arrays) != set(wanted):
            raise InputError(f"{path} holds {sorted(arrays)}", f"the model takes {sorted(wanted)}")
        batched = [arrays[name].ndim == len(t.shape) for name, t in wanted.items()]
        sizes = {len(arrays[name]) for name in wanted} if all(batched) else {1}
        if len(sizes) != 1:
            raise InputError(f"{path} holds {sorted(sizes)} samples", "every input needs the same number")
        samples = [row(arrays, i) for i in range(sizes.pop())] if all(batched) else [arrays]
        for index, sample in enumerate(samples):
            for name, spec in wanted.items():
                if not spec.fits((1, *sample[name].shape)):
                    found, takes = list(sample[name].shape), list(spec.shape[1:])
                    raise InputError(f"{name} in {path} has shape {found}", f"a sample of the model has {takes}")
            yield path if len(samples) == 1 else f"{path} [{index}]", sample

    def preprocess(self, raw: Arrays) -> dict[str, Any]:
        return {t.name: np.ascontiguousarray(raw[t.name], t.dtype)[None] for t in self.io.fed}

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Any]:
        return {t.name: outputs[t.name][0] for t in self.io.given}

    def draw(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Any:
        raise InputError("there is nothing to draw", "the recipe takes and gives plain arrays", "--json prints them")
