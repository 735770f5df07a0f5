"""From a row of features to a label: the same code in training, in the gates and on the device. Numpy and Pillow only.

A raw item is ``{"features": (F,) numbers}``, as the table has them: not normalised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgekd.contracts import Array, Arrays, IoSpec
from edgekd.errors import InputError
from edgekd.recipes.hypergraph.features import Features, checked, feature_row, from_arrays, normalized, width_refused
from edgekd.recipes.hypergraph.tables import has_header, numbers, read_table
from edgekd.storage import read_arrays

NOT_FEATURES = ("id", "label")  # columns of a table that are none
BAR, LINE = 200, 18  # px of a probability of 1, and of a class's line


class Pipeline:
    """``contract.Pipeline`` of the hypergraph recipe, built from the io spec: one input (rows, F) with ``rows`` set,
    one output (rows, C) of logits.

    Raises:
        InputError: the io spec is of another kind of model.
    """

    def __init__(self, io: IoSpec) -> None:
        if len(io.inputs) != 1 or len(io.outputs) != 1 or io.inputs[0].rows is None or len(io.inputs[0].shape) != 2:
            raise InputError("this is no model of feature rows", "it must have one input (rows, features)")
        self.input, self.output = io.inputs[0], io.outputs[0]
        self.rows = io.inputs[0].rows
        self.width = int(self.input.shape[1])
        count = int(self.output.shape[1])
        self.classes = self.output.classes or tuple(map(str, range(count)))

    def read(self, inputs: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of one file: ``.npz`` as ``sources.py`` says, or a table. With a header, columns are found by name
        where the model knows names; without one, they are taken in order.

        Raises:
            InputError: another input's name, no such file, other columns, NaN.
        """
        if set(inputs) != {self.input.name}:
            raise InputError(f"the model takes {self.input.name}, not {', '.join(sorted(inputs))}")
        path = Path(inputs[self.input.name])
        features = self._from_npz(path) if path.suffix == ".npz" else self._from_table(path)
        for k in range(len(features)):
            yield f"{path.name} row {k}", {"features": features.take(np.array([k])).dense()[0]}

    def preprocess(self, raw: Arrays) -> dict[str, Array]:
        """(1, F) float32, normalised as the io spec says."""
        row = feature_row(raw)
        if len(row) != self.width:
            raise width_refused(len(row), self.width, "the row")
        return {self.input.name: normalized(row[None], self.rows.normalization)}

    def postprocess(self, outputs: Arrays, raw: Arrays) -> dict[str, Any]:
        """``label``, ``class`` (its number) and ``probability`` (C,)."""
        logits = np.asarray(outputs[self.output.name], np.float64).reshape(-1)
        shares = np.exp(logits - logits.max())
        best = int(logits.argmax())
        return {
            "label": np.array(self.classes[best]),
            "class": np.array(best),
            "probability": (shares / shares.sum()).astype(np.float32),
        }

    def draw(
        self, raws: Sequence[Arrays], predictions: Sequence[Arrays], references: Sequence[Arrays] | None = None
    ) -> Image.Image:
        """A bar per class, as long as its probability; a reference's class (the truth, the teacher's) in orange."""
        blocks = [self._bars(p, None if references is None else references[k]) for k, p in enumerate(predictions)]
        picture = Image.new("RGB", (blocks[0].width, sum(b.height for b in blocks)), "white")
        top = 0
        for block in blocks:
            picture.paste(block, (0, top))
            top += block.height
        return picture

    def _bars(self, prediction: Arrays, reference: Arrays | None) -> Image.Image:
        left = 8 + 7 * max(len(name) for name in self.classes)
        block = Image.new("RGB", (left + BAR + 60, LINE * len(self.classes) + 8), "white")
        pen = ImageDraw.Draw(block)
        wanted = None if reference is None else int(reference["class"])
        for k, (name, share) in enumerate(zip(self.classes, prediction["probability"], strict=True)):
            top = 4 + LINE * k
            pen.text((4, top + 2), name, fill="#d55e00" if k == wanted else "black")
            pen.rectangle((left, top + 3, left + max(1, round(BAR * float(share))), top + LINE - 4), fill="#009e73")
            if k == wanted:
                pen.rectangle((left - 2, top + 1, left + BAR, top + LINE - 2), outline="#d55e00")
            pen.text((left + BAR + 6, top + 2), f"{float(share):.0%}", fill="black")
        return block

    def _from_npz(self, path: Path) -> Features:
        features = from_arrays(read_arrays(path), str(path))
        if features.width != self.width:
            raise width_refused(features.width, self.width, str(path))
        return features

    def _from_table(self, path: Path) -> Features:
        columns = read_table(path)
        names = [name for name in columns if name not in NOT_FEATURES]
        if has_header(columns) and self.rows.columns:
            missing = [name for name in self.rows.columns if name not in columns]
            if missing:
                why = f"{len(missing)} of the model's {self.width} columns are not there"
                raise InputError(
                    f"{path} has no column {missing[0]!r}", why, "give the columns it learnt, in any order"
                )
            names = list(self.rows.columns)
        elif len(names) != self.width:
            raise width_refused(len(names), self.width, str(path))
        values: NDArray[np.float32] = numbers(columns, names, str(path))
        return checked(Features(self.width, values), str(path))
