"""A teacher that has seen it happen: a still detector that is shown the frame which the student forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekd.contracts import Array, IoSpec
from edgekd.recipes.contract import SampleSet
from edgekd.recipes.streaming.config import TeacherConfig
from edgekd.recipes.streaming.head import Sizes, boxes
from edgekd.recipes.streaming.models import StillDetector
from edgekd.recipes.teachers import network_teacher
from edgekd.recipes.weights import load_weights
from edgekd.storage import sha256_file

CERTAIN = 1e-6  # probabilities of a foreign teacher are taken as at least so far from 0 and 1


class Teacher(nn.Module):
    """A still detector as ``contract.SetTeacher``: it is judged on each sample's next frame.

    Args:
        network: our own, or any module from (B, 3, H, W) to predictions (B, A, 5 + classes).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def raw(self, image: torch.Tensor) -> tuple[torch.Tensor, Sizes]:
        """What is trained: our own network before decoding."""
        assert isinstance(self.network, StillDetector)
        return self.network.raw(image)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, A, 5 + classes): boxes in px and raw logits."""
        if isinstance(self.network, StillDetector):
            raw, sizes = self.raw(image)
            return torch.cat((boxes(raw, sizes), raw[..., 4:].float()), dim=-1)
        said = self.network(image).float()
        return torch.cat((said[..., :4], said[..., 4:].logit(CERTAIN)), dim=-1)

    def judged(self, samples: SampleSet) -> dict[str, Array]:
        """Predictions of each sample's next frame."""
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        training, found = self.training, []
        self.eval()
        with torch.inference_mode():
            for index in range(len(samples)):
                said = self(samples.batch([(0, index)])["next_frame"].to(device))
                found.append(torch.cat((said[..., :4], said[..., 4:].sigmoid()), dim=-1).cpu().numpy())
        self.train(training)
        return {"predictions": np.concatenate(found)}


def brought_teacher(config: TeacherConfig, classes: int, io: IoSpec) -> tuple[Teacher, dict[str, Any]]:
    """The teacher that ``black_box`` names, and its provenance: weights of our own network, or what anyone wrote.

    Args:
        io: of a still detector at the student's input size: an image in, predictions out.

    Raises:
        InputError: no such teacher, or weights of another network.
    """
    if not config.black_box.endswith(".safetensors"):
        network, provenance = network_teacher(config.black_box, io)
        return Teacher(network), provenance
    path = Path(config.black_box)
    teacher = Teacher(StillDetector(config, classes))
    # A run's stages/teacher/best.safetensors is of a ``Teacher``; other files are of the network in it.
    load_weights(teacher if _of_a_stage(path) else teacher.network, path)
    licence = "not known to edgekd: the user's own weights"
    return teacher, {"teacher": path.name, "sha256": sha256_file(path), "licence": licence}


def _of_a_stage(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return all(name.startswith("network.") for name in file.keys())  # noqa: SIM118  not a dict
    except (OSError, SafetensorError):
        return False  # ``load_weights`` says what is wrong
