"""One of the processes that train together: all the runs that ``test_many.py`` looks at, in one start of them.

torchrun --standalone --nproc-per-node 2 many.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from edgekd.recipes.landmarks import pictures
from edgekd.training import fit
from edgekd.training.distill import distill

HERE = Path(sys.argv[1])
COUNT, RANK = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
TINY = ("train.epochs=2", "teacher.epochs=2", "train.batch_size=16", "train.precision=fp32", "train.learning_rate=0.01")
PICTURES = (
    *("student.input_size=32", "student.width=0.25", "teacher.use=none"),
    *("train.epochs=1", "train.batch_size=8", "train.precision=fp32"),
)


def keep_every_ranks_weights() -> None:
    """What each rank's model holds at the end of a stage, before the best epoch's weights are loaded into all."""
    load = fit.load_weights

    def kept(module: nn.Module, path: Path) -> None:
        save_file(dict(module.state_dict()), path.with_name(f"rank{RANK}.safetensors"))
        load(module, path)

    fit.load_weights = kept


def write_down_what_is_labelled() -> None:
    """Every picture has a face, and the teacher notes which picture it is asked about: its grey value."""

    def label(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        with (HERE / f"asked-{COUNT}-{RANK}.txt").open("a") as file:
            print(int(picture[0, 0, 0]), file=file)
        return np.linspace(box[:2], box[2:], 68)

    pictures.find_faces = lambda picture: [np.array([8, 8, 40, 40], np.float32)]
    pictures.named_callable = lambda spec: (label, {"teacher": spec})


if __name__ == "__main__":
    torch.set_num_threads(1)
    together = {"devices": COUNT, "accelerator": "cpu"}
    keep_every_ranks_weights()
    for name, still in (("still", "true"), ("moving", "false")):
        distill("many", HERE / f"{name}-{COUNT}", settings=[*TINY, f"still={still}"], **together)
    write_down_what_is_labelled()
    folder = HERE / f"labelled-{COUNT}" / "run"
    source = [f"images:{HERE / 'photos'}"]
    distill("landmarks", folder, data=source, teacher="own:label", settings=PICTURES, **together)
