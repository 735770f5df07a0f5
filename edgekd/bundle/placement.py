"""Judging what a runtime says it built."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgekd.bundle.manifest import PlacementSummary
from edgekd.contracts import NodePlacement, Placement, Precision
from edgekd.nn.onnx_graph import KEEP_FLOAT

# A first convolution or a last layer kept in floating point is common and honest; a graph that is mostly
# something else is not the precision that was asked for.
LEAST_SHARE = 0.8
LOWER = ("bf16", "fp16", "int8")  # than what must stay in fp32; whole numbers and truth values are no loss


@dataclass(frozen=True)
class Share:
    found: float
    limit: float


def summarize(placement: Placement) -> PlacementSummary:
    return PlacementSummary(
        source=placement.source,
        precision_by_macs=placement.share_of_macs("precision"),
        device_by_macs=placement.share_of_macs("device"),
        precision_by_nodes=dict(Counter(node.precision for node in placement.nodes)),
        unattributed_macs=float(sum(node.macs is None for node in placement.nodes)),
    )


def precision_shortfall(placement: Placement, precision: Precision) -> Share:
    """Share of MACs that are really in ``precision``, and the least that counts as built so.

    Compressed weights (w8, w4, palette) compute in floating point, so there any type will do; mixed is
    whatever the profile mixed. A graph that multiplies nothing is judged by its nodes.
    """
    if precision in (Precision.W8, Precision.W4, Precision.PALETTE, Precision.MIXED):
        return Share(1.0, 0.0)
    shares = placement.share_of_macs("precision")
    if not shares:
        kinds = Counter(n.precision for n in placement.nodes if n.precision in set(Precision))
        shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    return Share(shares.get(str(precision), 0.0), LEAST_SHARE)


def kept_float(placement: Placement) -> tuple[NodePlacement, ...]:
    """The nodes that must be in fp32 (``edgekd.nn.keep_float``), or into which such a node was fused."""
    return tuple(n for n in placement.nodes if any(name.startswith(KEEP_FLOAT) for name in (n.name, *n.parts)))


def lost_float(placement: Placement) -> tuple[NodePlacement, ...]:
    """Those of them that this runtime computes in a lower type all the same."""
    return tuple(node for node in kept_float(placement) if node.precision in LOWER)


def quantized(precision: Precision) -> bool:
    """Whether a calibration decides what it computes."""
    return precision in (Precision.INT8, Precision.MIXED)
