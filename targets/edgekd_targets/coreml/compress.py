"""Fewer bits in an ML Program: weights alone (w8, w4, palette), or weights and activations (int8)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.contracts import Calibration, IoSpec, Precision
from edgekd.errors import InputError, MachineError, nearest
from edgekd_targets.coreml.calibration import STATISTICS, ranges
from edgekd_targets.coreml.library import coremltools, quiet
from edgekd_targets.coreml.package import operations

BLOCKS = (32, 24, 16, 8)  # weights of one output channel that may share a scale at 4 bits
PALETTE_BITS = 6
WAY = {"recipe": "coremltools", "statistics": "percentile", "activation": "uint8", "pairs": "inputs", "keep_float": ()}
CHOICES = {
    "recipe": ("coremltools",),
    "statistics": STATISTICS,
    "activation": ("uint8", "int8"),
    "pairs": ("inputs", "both"),
}
SMALLEST = 2048  # of a weight that is worth it: below, bits cost more than they save


def compress_weights(model: Any, precision: Precision) -> Any:
    """Weights of ``precision``, unpacked when the program is loaded; it computes in floating point.

    Raises:
        InputError: w4 in a program for a system that cannot unpack it.
    """
    coreml = coremltools().optimize.coreml
    if precision == Precision.PALETTE:
        config = coreml.OpPalettizerConfig(mode="kmeans", nbits=PALETTE_BITS, weight_threshold=SMALLEST)
        return _applied(coreml.palettize_weights, model, coreml.OptimizationConfig(global_config=config))
    if precision == Precision.W8:
        return _applied(coreml.linear_quantize_weights, model, coreml.OptimizationConfig(global_config=_bits(8)))
    if model.get_spec().specificationVersion < coremltools().target.iOS18:
        raise InputError("w4 needs iOS 18 or macOS 15", "before, ML Programs know no blocks", "--target coreml/mac")
    blocks = {name: _blocks(size) for name, size in _weight_inputs(model).items()}
    config = coreml.OptimizationConfig(global_config=_bits(8), op_name_configs=blocks)
    return _applied(coreml.linear_quantize_weights, model, config)


def _bits(bits: int, **more: Any) -> Any:
    return coremltools().optimize.coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=f"int{bits}", weight_threshold=SMALLEST, **more
    )


def _blocks(channels: int) -> Any:
    """4 bits in blocks that divide the input channels; 8 where none does (a first or a depthwise convolution).

    coreml's own default, one size for all, leaves those in float16 that it does not divide.
    """
    size = next((size for size in BLOCKS if channels % size == 0), None)
    return _bits(8) if size is None else _bits(4, granularity="per_block", block_size=size)


def _weight_inputs(model: Any) -> dict[str, int]:
    """Input channels of every weight, by the operation that multiplies with it."""
    made = list(operations(model.get_spec()))
    shapes = {op.output: op.value.shape for op in made}
    weights = {op.output: op.inputs["weight"][0] for op in made if op.inputs.get("weight")}
    return {name: int(shapes[weight][1] or 1) for name, weight in weights.items() if weight in shapes}


def quantize(model: Any, io: IoSpec, calibration: Calibration, way: Mapping[str, Any]) -> Any:
    """Quantize-dequantize pairs before what multiplies, adds and pools, and 8-bit weights.

    Args:
        way: the profile's ``[quantization]``. ``statistics`` (``calibration.ranges``); ``activation``: uint8 with a
            zero point, or int8, symmetric; ``pairs``: before ``inputs`` alone, or behind results too (``both``: as
            coremltools does, though what follows quantizes what it reads itself); ``keep_float`` names operations.

    Raises:
        InputError: a setting or a value that this target does not know.
    """
    chosen = {**WAY, **way}
    chosen.pop("name", None)
    if strangers := sorted(chosen.keys() - WAY.keys()):
        raise InputError(f"coreml's quantization knows no setting {strangers[0]!r}", fix="there are: " + ", ".join(WAY))
    for key, known in CHOICES.items():
        if chosen[key] not in known:
            raise InputError(f"quantization.{key} = {chosen[key]!r} cannot be used", fix="one of " + ", ".join(known))
    coreml = coremltools().optimize.coreml
    mode = "linear" if chosen["activation"] == "uint8" else "linear_symmetric"
    activation = coreml.OpLinearQuantizerConfig(mode=mode, dtype=chosen["activation"])
    kept = _kept(model, chosen["keep_float"])
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        package = Path(folder) / "model.mlpackage"
        model.save(str(package))
        found = ranges(package, io, calibration, str(chosen["statistics"]))
        stats = {name: {"rmin": low, "rmax": high} for name, (low, high) in found.items()}
        config = coreml.OptimizationConfig(global_config=activation, op_name_configs=kept)
        model = _paired(model, config, stats, ("prefix",) if chosen["pairs"] == "inputs" else ("prefix", "suffix"))
    weights = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)  # or a product is half int8
    config = coreml.OptimizationConfig(global_config=weights, op_name_configs=kept)
    return _applied(coreml.linear_quantize_weights, model, config)


def _kept(model: Any, names: Sequence[str]) -> dict[str, None]:
    """As coremltools knows the operations that give what is named: their names and their results' may differ.

    Raises:
        InputError: the program has no such result.
    """
    known = {op.output: op.name for op in operations(model.get_spec())}
    for name in names:
        if name not in known:
            raise InputError(f"quantization.keep_float: the program has no {name!r}", fix=nearest(name, known))
    return dict.fromkeys(known[name] for name in names)


def _paired(model: Any, config: Any, stats: Mapping[str, Any], sides: Sequence[str]) -> Any:
    """coremltools' own passes for activations, with our statistics: its calibrator runs the model, on macOS only."""
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models.utils import _apply_graph_pass

    passes = []
    for side in sides:
        insert = PASS_REGISTRY[f"compression::insert_{side}_quantize_dequantize_pair"]
        insert.set_options([PassOption("config", config), PassOption("activation_stats", dict(stats))])
        passes.append(insert)
    passes.append(PASS_REGISTRY["common::dequantize_quantize_pair_elimination"])
    version = coremltools().target.iOS17
    return _applied(_apply_graph_pass, model, passes, spec_version=version, skip_model_load=True)


def _applied(function: Any, model: Any, *arguments: Any, **keywords: Any) -> Any:
    try:
        with quiet(), np.errstate(all="ignore"):
            return function(model, *arguments, **keywords)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        said = str(error).strip().partition("\n")[0]
        raise MachineError("coremltools cannot compress the program", f"{type(error).__name__}: {said}") from error
