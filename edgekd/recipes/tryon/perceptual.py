"""The perceptual distance: L1 between what a network sees in two pictures (Johnson et al. 2016; B4).

With weights that the user brings it is VGG19's, as the paper has it. Without them it is that of the teacher's own
garment encoder, which a stage before this one trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgekd.errors import InputError
from edgekd.nn.vgg import VGG19, Vgg
from edgekd.storage import sha256_file

WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of the five depths, the shallowest first


def load_vgg19(path: Path) -> tuple[Vgg, dict[str, Any]]:
    """VGG19 up to relu5_1, pooling with ``ceil_mode``, and the provenance of its weights.

    They are a ``.safetensors`` file's, or a torch state dict's. What else the file holds (the classifier, deeper
    layers) is left out.

    Raises:
        InputError: no such file, or no VGG19 of torchvision's names.
    """
    fix = "torch.save(torchvision.models.vgg19(weights='IMAGENET1K_V1').state_dict(), 'vgg19.pt') makes one"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own many ways to say that it is broken
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read as weights", reason, fix) from None
    network = Vgg(VGG19, taps=0, ceil_mode=True)  # relu1_1, 2_1, 3_1, 4_1, 5_1
    chosen: dict[str, torch.Tensor] = {}
    for name, own in network.state_dict().items():
        value = found.get(name) if isinstance(found, dict) else None
        if not isinstance(value, torch.Tensor) or value.shape != own.shape:
            have = f"it is {list(value.shape)}" if isinstance(value, torch.Tensor) else "it has none"
            raise InputError(f"{path} is no VGG19", f"{name} should be {list(own.shape)}, {have}", fix)
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{path} has NaN or infinity in {name}", fix=fix)
        chosen[name] = value.float()
    network.load_state_dict(chosen)
    licence = "not known to edgekd: the user's own weights"
    return network.eval().requires_grad_(False), {"file": path.name, "sha256": sha256_file(path), "licence": licence}


class PerceptualDistance:
    """L1 between the network's maps, deep ones counting most.

    Args:
        network: gives five maps, the shallowest first. In evaluation and without gradients when it is asked.
        relative: each map's distance is divided by the mean size of the target's, because the maps of a network that
            somebody trained for something else may be of any size.
    """

    def __init__(self, network: nn.Module, relative: bool) -> None:
        self.network, self.relative = network, relative

    def __call__(self, picture: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """A scalar, from (B, 3, H, W) twice."""
        self.network.to(picture.device)
        with torch.no_grad():
            wanted: Sequence[torch.Tensor] = self.network(target)
        total = picture.new_zeros(())
        for weight, own, theirs in zip(WEIGHTS, self.network(picture), wanted, strict=True):
            distance = F.l1_loss(own, theirs)
            if self.relative:
                distance = distance / theirs.abs().mean().clamp(min=1e-6)
            total = total + weight * distance
        return total
