"""Which part of a graph loses most by its quantization, and what to keep in floating point so that the rest is exact.

The noise that each part's quantizers alone bring to the outputs is measured on a few calibration samples. Noises of
different parts are nearly independent, so their powers add up; the parts with the most noise for their
multiply-accumulates are given up first, until what is left fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Array, Arrays, IoSpec
from edgekd.nn.onnx_graph import MAC_OPS, macs_by_node
from edgekd.nn.onnx_reference import OnnxReference

MOST_PARTS = 24  # each is one session
RESERVE = 0.5  # of the noise that is allowed: independence is only nearly so, and other samples differ


@dataclass(frozen=True)
class Part:
    """Consecutive nodes, their multiply-accumulates, and the noise that they bring: its power over the signal's."""

    nodes: tuple[str, ...]
    macs: int
    noise: float


def sensitive_nodes(
    source: Path, typed: Path, io: IoSpec, feeds: Sequence[Arrays], least_db: float, folder: Path
) -> list[str]:
    """Names of the nodes to keep in floating point so that every output keeps an SQNR of ``least_db``.

    Args:
        source: the graph before it was quantized.
        typed: the same with quantize-dequantize pairs; its nodes have the names of the source's.
        feeds: calibration samples, never those that judge.
        folder: for graphs that are written on the way.
    """
    kept: list[str] = []
    parts = measured(source, typed, io, feeds, folder)
    noise = sum(part.noise for part in parts)
    for part in sorted(parts, key=lambda p: -p.noise / max(p.macs, 1)):
        if noise <= RESERVE * 10 ** (-least_db / 10):
            break
        kept += part.nodes
        noise -= part.noise
    return kept


def measured(source: Path, typed: Path, io: IoSpec, feeds: Sequence[Arrays], folder: Path) -> list[Part]:
    """Every part with its own noise, in the order of the graph."""
    import onnx

    exact, quantized = onnx.load(source), onnx.load(typed)
    costs = macs_by_node(exact, io)
    known = {node.name: node for node in exact.graph.node if node.name}
    said = _outputs(OnnxReference(source, io), feeds)
    parts = []
    for nodes in _parts(quantized, known):
        alone = folder / "part.onnx"
        onnx.save(_only(quantized, exact, set(nodes)), str(alone))
        noise = _noise(_outputs(OnnxReference(alone, io), feeds), said)
        macs = sum(costs.get(output, 0) for name in nodes for output in known[name].output)
        parts.append(Part(nodes, macs, noise))
    return parts


def _parts(quantized: Any, known: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Nodes that read something quantized, in runs that each begin with one that multiplies."""
    dequantized = {o for node in quantized.graph.node if node.op_type == "DequantizeLinear" for o in node.output}
    runs: list[list[str]] = []
    for node in quantized.graph.node:
        if node.name in known and dequantized & set(node.input):
            if node.op_type in MAC_OPS or not runs:
                runs.append([])
            runs[-1].append(node.name)
    size = -(-len(runs) // MOST_PARTS)  # rounded up
    return [tuple(name for run in runs[i : i + size] for name in run) for i in range(0, len(runs), size or 1)]


def _only(quantized: Any, exact: Any, nodes: set[str]) -> Any:
    """The exact graph with the quantizers of ``nodes`` put before their inputs.

    It is made from the exact graph, since quantizers drop what theirs makes needless (a Relu before a range from 0).
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(exact)
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    producers = {output: node for node in quantized.graph.node for output in node.output}
    typed = {node.name: node for node in quantized.graph.node if node.name in nodes}
    added: set[str] = set()

    def constant(name: str) -> str:
        """An initializer of the quantized graph, brought over."""
        renamed = f"typed/{name}"
        if renamed not in added:
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(stored[name])
            tensor.name = renamed
            added.add(renamed)
        return renamed

    def like(node: Any, value: str, output: str) -> Any:
        """A quantizer or dequantizer as ``node``, from ``value`` to ``output``."""
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.name = output
        made.input[:] = [value, *(constant(name) for name in node.input[1:])]
        made.output[:] = [output]
        return made

    ordered = []
    for node in model.graph.node:
        for index, name in enumerate(typed[node.name].input if node.name in typed else ()):
            dequantize = producers.get(name)
            if dequantize is None or dequantize.op_type != "DequantizeLinear" or index >= len(node.input):
                continue
            quantize, made = producers.get(dequantize.input[0]), f"typed/{node.name}/{index}"
            if quantize is not None and quantize.op_type == "QuantizeLinear":
                ordered.append(like(quantize, node.input[index], f"{made}/q"))
                ordered.append(like(dequantize, f"{made}/q", made))
            elif dequantize.input[0] in stored:
                ordered.append(like(dequantize, constant(dequantize.input[0]), made))
            else:
                continue
            node.input[index] = made
        ordered.append(node)
    nodes_in_order = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(nodes_in_order)
    return model


def _outputs(session: OnnxReference, feeds: Sequence[Arrays]) -> dict[str, Array]:
    found = [session.run(feed) for feed in feeds]
    return {name: np.stack([f[name] for f in found]).astype(np.float64) for name in found[0]}


def _noise(found: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """Of the output that has most of it, as a share of the signal's power."""
    shares = [0.0]
    for name, value in exact.items():
        signal = float(np.square(value).sum())
        shares.append(float(np.square(found[name] - value).sum()) / signal if signal > 0 else 0.0)
    return max(share if np.isfinite(share) else 1.0 for share in shares)
