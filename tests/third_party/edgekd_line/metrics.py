import numpy as np


class R2:
    primary = "r2"
    higher_is_better = True
    units = {"r2": ""}  # noqa: RUF012

    def compute(self, predictions, truths):
        y, want = (np.array([float(row["y"][0]) for row in rows]) for rows in (predictions, truths))
        return {"r2": float(1 - np.square(y - want).sum() / np.square(want - want.mean()).sum())}


METRICS = R2()
