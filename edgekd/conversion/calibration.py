"""Calibration feeds: from training data only, hashed, streamed one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator

from edgekd.contracts import Array
from edgekd.errors import InputError
from edgekd.recipes.contract import Pipeline
from edgekd.run import Run
from edgekd.storage import row, sha256_arrays


class RunCalibration:
    """The run's raw training samples, pre-processed as on the device.

    Raises:
        InputError: a calibration sample is also a held-out one: the gates would judge what they were fitted on.
    """

    def __init__(self, run: Run, pipeline: Pipeline) -> None:
        self._raw, self._pipeline = run.calibration(), pipeline
        self.sha256 = sha256_arrays(self._raw)
        held = {_fingerprint(raw) for raw in run.heldout().raws()}
        shared = [i for i in range(len(self)) if _fingerprint(row(self._raw, i)) in held]
        if shared:
            raise InputError(
                f"{run.path / 'calibration.npz'}: {len(shared)} of {len(self)} samples are held-out samples",
                "int8 would be judged on what it was calibrated on",
                "distil again; calibration takes training data only",
            )

    def __len__(self) -> int:
        return len(next(iter(self._raw.values())))

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for index in range(len(self)):
            yield self._pipeline.preprocess(row(self._raw, index))


def _fingerprint(raw: dict[str, Array]) -> str:
    """Over what was seen, not how it was framed: the largest array, which is the picture."""
    name = max(raw, key=lambda n: raw[n].nbytes)
    return sha256_arrays({name: raw[name]})
