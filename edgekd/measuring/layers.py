"""Where the time goes inside a model: the runtime's profiler, joined with what its placement says of each node."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.contracts import Placement
from edgekd.measuring.measurement import LayerProfile, LayerTime


def layer_profile(rows: Sequence[tuple[str, str, float]], placement: Placement, calls: int) -> LayerProfile:
    """``rows``: (node, kernel, mean ms). Op and precision are the placement's, by the node's name; a node that it
    does not know has its kernel for an op, and no precision."""
    known = {node.name: node for node in placement.nodes}
    layers = []
    for name, kernel, ms in rows:
        node = known.get(name)
        layers.append(
            LayerTime(
                node=name,
                op=node.op if node else kernel,
                kernel=kernel,
                precision=node.precision if node else "",
                ms=ms,
            )
        )
    return LayerProfile(calls=calls, layers=tuple(sorted(layers, key=lambda layer: -layer.ms)))


def top(profile: LayerProfile, most: int) -> tuple[tuple[LayerTime, ...], LayerTime | None]:
    """The ``most`` slowest, and all others as one; None where there are no others."""
    shown, others = profile.layers[:most], profile.layers[most:]
    if not others:
        return shown, None
    rest = LayerTime(node=f"{len(others)} others", op="", kernel="", precision="", ms=sum(o.ms for o in others))
    return shown, rest
