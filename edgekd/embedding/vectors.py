"""A bundle's test vectors as an app carries them: one ``.npy`` per array, which any language reads in a few lines.

vectors/raw/NAME.npy         (samples, ...) what a user would hand over
vectors/feeds/NAME.npy       what the pipeline made of it
vectors/outputs/NAME.npy     what the built graph said, recorded at export; vectors/live/GRAPH/NAME.npy another way
vectors/results/K/NAME.npy   the decoded result of sample K, as ``edgekd predict`` gives it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle.open import Bundle
from edgekd.contracts import Array, Arrays
from edgekd.storage import row

DECODED_TOLERANCE = 1e-5  # of a result decoded from recorded outputs: the same arithmetic, in another language
DRAWN = 2  # samples whose outputs are also drawn
FEEDS_CHANGED = 0.01  # share of a feed that may differ: a resampler's last bit does here and there, a constant all over


def decoded(bundle: Bundle, raws: Arrays, outputs: Arrays) -> list[dict[str, Any]]:
    """The result of each sample of the outputs."""
    count = len(next(iter(outputs.values())))
    return [bundle.pipeline.postprocess(row(outputs, k), row(raws, k)) for k in range(count)]


def drawn_outputs(outputs: Arrays, samples: int) -> dict[str, Array]:
    """For the first samples, numbers uniformly from each output's own range; the same on every call."""
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(value.min(), value.max(), (samples, *value.shape[1:])).astype(value.dtype)
        for name, value in outputs.items()
    }


def write_vectors(bundle: Bundle, folder: Path) -> int:
    """Writes ``vectors/`` into ``folder``; returns the number of samples."""
    vectors = dict(bundle.vectors())
    parts = {"raw": "raw", "feeds": "feeds", "built": "outputs"}
    parts |= {part: part for part in vectors if part.startswith("live/")}
    for part, place in parts.items():
        for name, value in vectors[part].items():
            _write(folder / "vectors" / place / f"{name}.npy", value)
    raws, outputs = vectors["raw"], vectors["built"]
    found = decoded(bundle, raws, outputs)
    _write_results(folder / "vectors" / "results", found)
    drawn = drawn_outputs(outputs, min(DRAWN, len(found)))
    for name, value in drawn.items():
        _write(folder / "vectors" / "drawn" / "outputs" / f"{name}.npy", value)
    _write_results(folder / "vectors" / "drawn" / "results", decoded(bundle, raws, drawn))
    return len(found)


def _write_results(folder: Path, results: list[dict[str, Any]]) -> None:
    for k, result in enumerate(results):
        for name, value in result.items():
            _write(folder / f"{k:03d}" / f"{name}.npy", np.asarray(value))


def _write(path: Path, value: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(value, order="C"), allow_pickle=False)
