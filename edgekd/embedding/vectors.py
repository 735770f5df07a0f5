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
from edgekd.contracts import Array
from edgekd.storage import row

DECODED_TOLERANCE = 1e-5  # of a result decoded from recorded outputs: the same arithmetic, in another language
FEEDS_CHANGED = 0.01  # share of a feed that may differ: a resampler's last bit does here and there, a constant all over


def results(bundle: Bundle, vectors: dict[str, dict[str, Array]]) -> list[dict[str, Any]]:
    """The decoded result of each sample, from the recorded outputs."""
    raws, outputs = vectors["raw"], vectors["built"]
    count = len(next(iter(raws.values())))
    return [bundle.pipeline.postprocess(row(outputs, k), row(raws, k)) for k in range(count)]


def write_vectors(bundle: Bundle, folder: Path) -> int:
    """Writes ``vectors/`` into ``folder``; returns the number of samples."""
    vectors = dict(bundle.vectors())
    parts = {"raw": "raw", "feeds": "feeds", "built": "outputs"}
    parts |= {part: part for part in vectors if part.startswith("live/")}
    for part, place in parts.items():
        for name, value in vectors[part].items():
            _write(folder / "vectors" / place / f"{name}.npy", value)
    decoded = results(bundle, vectors)
    for k, result in enumerate(decoded):
        for name, value in result.items():
            _write(folder / "vectors" / "results" / f"{k:03d}" / f"{name}.npy", np.asarray(value))
    return len(decoded)


def _write(path: Path, value: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(value, order="C"), allow_pickle=False)
