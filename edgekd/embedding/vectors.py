"""A bundle's test vectors as an app carries them: one ``.npy`` per array, which any language reads in a few lines.

vectors/raw/NAME.npy         (samples, ...) what a user would hand over
vectors/feeds/NAME.npy       what the pipeline made of it
vectors/outputs/NAME.npy     what the built graph said, recorded at export; vectors/live/GRAPH/NAME.npy another way
vectors/results/K/NAME.npy   the decoded result of sample K, as ``edgekd predict`` gives it
vectors/varied/K/PART/...    raw, feeds, outputs and results of pictures of other sizes and of outputs drawn at random:
                             samples that fit the student, and of which it says little, leave branches untried
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle.open import Bundle
from edgekd.contracts import Array, Arrays
from edgekd.storage import row

DECODED_TOLERANCE = 1e-5  # of a result decoded from recorded outputs: the same arithmetic, in another language
FEEDS_SHIFT = 0.05  # grey levels that a feed's mean may be off: the rounding of two resamplers cancels out in it
VARIED = 2  # samples that are also varied
SMALL = 512 * 512  # px up to which a picture is doubled: larger ones would make the app large


def write_vectors(bundle: Bundle, folder: Path) -> int:
    """Writes ``vectors/`` into ``folder``; returns the number of samples."""
    vectors, place = dict(bundle.vectors()), folder / "vectors"
    parts = {"raw": "raw", "feeds": "feeds", "built": "outputs"}
    parts |= {part: part for part in vectors if part.startswith("live/")}
    for part, name in parts.items():
        _write(place / name, vectors[part])
    raws, outputs = vectors["raw"], vectors["built"]
    count = len(next(iter(outputs.values())))
    for k in range(count):
        _write(place / "results" / f"{k:03d}", bundle.pipeline.postprocess(row(outputs, k), row(raws, k)))
    for k in range(min(VARIED, count)):
        raw, said = varied_raw(row(raws, k), larger=k % 2 == 1), drawn_outputs(outputs, k)
        made = {"raw": raw, "feeds": bundle.pipeline.preprocess(raw), "outputs": said}
        made["results"] = bundle.pipeline.postprocess(said, raw)
        for part, arrays in made.items():
            _write(place / "varied" / f"{k:03d}" / part, arrays)
    return count


def varied_raw(raw: Arrays, larger: bool) -> dict[str, Array]:
    """A sample whose pictures have another size and other proportions: some edges cut off, or twice as large, too.

    A picture and its mask are changed alike; a box stays where it is in them.
    """
    pictures = {name: value for name, value in raw.items() if value.dtype == np.uint8 and value.ndim >= 2}
    larger = larger and all(value.shape[0] * value.shape[1] <= SMALL for value in pictures.values())
    varied = dict(raw)
    for name, value in pictures.items():
        whole = value.repeat(2, axis=0).repeat(2, axis=1) if larger else value
        varied[name] = np.ascontiguousarray(whole[:-6, :-1] if larger else whole[:-1, :-4])
    if larger and "box" in raw:
        varied["box"] = raw["box"] * 2
    return varied


def drawn_outputs(outputs: Arrays, sample: int) -> dict[str, Array]:
    """Of one sample, numbers uniformly from each output's own range; the same on every call."""
    rng = np.random.default_rng(sample)
    return {
        name: rng.uniform(value.min(), value.max(), value.shape[1:]).astype(value.dtype)
        for name, value in outputs.items()
    }


def _write(folder: Path, arrays: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(value, order="C"), allow_pickle=False)
