"""LPIPS and FID: how close a try-on looks to networks whose weights the user brings.

``vgg16``      torchvision's VGG16 (ImageNet) as a state dict; ``lpips``, the five linear layers of LPIPS v0.1 for it, are
               those that torchmetrics carries (BSD-2, Zhang et al.) where no other file is named.
``inception``  the FID network (Heusel et al. 2017) as an ONNX that takes (n, 3, H, W) RGB in 0..1 and gives (n, d): what
               ``torch.onnx.export`` makes of pytorch-fid's ``InceptionV3([3])``, resizing and normalising included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError, MachineError
from edgekd.nn.pretrained import load_in_order
from edgekd.nn.vgg import VGG16, Vgg

Progress = Callable[[str, float], None]

NETWORKS: Mapping[str, str] = {
    "vgg16": "torchvision's VGG16, a state dict: LPIPS",
    "lpips": "LPIPS v0.1's linear layers for VGG16, a state dict; left out: torchmetrics'",
    "inception": "the FID network, an ONNX: FID",
}
UNITS: Mapping[str, str] = {"lpips": "", "fid": ""}
LINEAR_LAYERS = "package:torchmetrics/functional/image/lpips_models/vgg.pth"
# Of the published metric: ImageNet's mean and deviation as they are for pictures in -1..1.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Learned perceptual distance v0.1 with VGG16 (Zhang et al. 2018): (B, 3, H, W) in -1..1, twice, to (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = Vgg(VGG16)
        self.linear = nn.ModuleList(nn.Conv2d(block[-1], 1, 1, bias=False) for block in VGG16)

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        shift, scale = (one.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        seen = zip(self.vgg((one - shift) / scale), self.vgg((other - shift) / scale), self.linear, strict=True)
        distances = [layer((_unit(a) - _unit(b)) ** 2).mean((1, 2, 3)) for a, b, layer in seen]
        return torch.stack(distances).sum(0)


def _unit(maps: torch.Tensor) -> torch.Tensor:
    return maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)


def load_lpips(vgg16: Path, linear: str | Path = LINEAR_LAYERS) -> Lpips:
    """The metric with the weights of two files.

    Raises:
        InputError: a file is missing, or holds other tensors than it should.
    """
    network = Lpips().eval().requires_grad_(False)
    load_in_order(network.vgg, vgg16)
    load_in_order(network.linear, linear)
    return network


def frechet_distance(one: Array, other: Array) -> float:
    """Between the normal distributions of two sets of features (n, d) and (m, d) (Heusel et al. 2017).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the root's trace by the symmetric form C1^(1/2) C2 C1^(1/2).

    Raises:
        ValueError: fewer than two of either, or features of two kinds.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"features {a.shape} and {b.shape} have no Frechet distance")
    first, second = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * trace)


def measure(
    networks: Mapping[str, Path], predictions: Sequence[Arrays], truths: Sequence[Arrays], progress: Progress
) -> dict[str, float]:
    """``lpips``, the mean over samples, and ``fid``, where the networks for them are named.

    Args:
        networks: as in ``NETWORKS``.
        predictions, truths: ``{"tryon": (H, W, 3) uint8}`` each.

    Raises:
        InputError: an unknown network, or a file that holds another one.
        MachineError: onnxruntime is not installed.
    """
    if unknown := sorted(set(networks) - set(NETWORKS)):
        raise InputError(f"there is no network {unknown[0]!r}", fix="one of " + ", ".join(NETWORKS))
    if "lpips" in networks and "vgg16" not in networks:
        raise InputError("lpips needs vgg16", "its linear layers weigh what VGG16 sees", "vgg16=FILE")
    found: dict[str, float] = {}
    pairs = [(np.asarray(p["tryon"]), np.asarray(t["tryon"])) for p, t in zip(predictions, truths, strict=True)]
    if "vgg16" in networks:
        network, distances = load_lpips(networks["vgg16"], networks.get("lpips", LINEAR_LAYERS)), []
        for k, pair in enumerate(pairs):
            one, other = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in pair)
            distances.append(float(network(one, other)))
            progress("LPIPS", (k + 1) / len(pairs))
        found["lpips"] = float(np.mean(distances))
    if "inception" in networks:
        look = _features(networks["inception"])
        seen: tuple[list[Array], list[Array]] = ([], [])
        for k, pair in enumerate(pairs):
            for picture, own in zip(pair, seen, strict=True):
                own.append(look(picture))
            progress("FID", (k + 1) / len(pairs))
        try:
            found["fid"] = frechet_distance(np.stack(seen[0]), np.stack(seen[1]))
        except ValueError as error:
            raise InputError("FID cannot be taken", str(error), "it needs several samples") from None
    return found


def _features(path: Path) -> Callable[[NDArray[np.uint8]], Array]:
    """What the ONNX network says about one picture: (d,)."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MachineError("onnxruntime is not installed", str(error), 'pip install "edgekd[onnxruntime]"') from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (name,) = (value.name for value in session.get_inputs())
    except Exception as error:  # onnxruntime's own; several inputs
        raise InputError(
            f"{path} is no FID network", str(error), "an ONNX with one input, see the recipe's quality.py"
        ) from None

    def look(picture: NDArray[np.uint8]) -> Array:
        feed = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / 255
        try:
            first = np.asarray(session.run(None, {name: feed})[0], np.float64)
        except Exception as error:
            raise InputError(f"{path} cannot look at a picture of {picture.shape}", str(error)) from None
        return first.reshape(-1)

    return look
