"""Post-training quantization of an ONNX graph to Q/DQ, by the recipe that a profile names.

Where the Q/DQ pairs stand is a property of the runtime: what one fuses, another executes node by node. So each
profile says which of these places them (benchmarks/landmarks.py compares).
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from edgekd.contracts import Calibration
from edgekd.errors import EdgekdError, InputError, MachineError, nearest

# Errors of a quantizer that the graph is not to blame for.
_NOT_THE_GRAPHS = (EdgekdError, ModuleNotFoundError, OSError, MemoryError)


def quantize(source: Path, out: Path, calibration: Calibration, options: Mapping[str, Any]) -> None:
    """Writes the typed (Q/DQ) int8 graph of ``source`` to ``out``.

    Args:
        calibration: feeds by input name, streamed.
        options: a profile's ``[quantization]``: ``recipe`` and its own settings.

    Raises:
        InputError: an unknown recipe or setting.
    """
    settings = dict(options)
    settings.pop("name", None)  # the profile's own, for its candidates
    name = settings.pop("recipe", None)
    if name not in RECIPES:
        raise InputError(f"there is no quantization recipe {name!r}", fix="there are: " + ", ".join(sorted(RECIPES)))
    RECIPES[name](source, out, calibration, settings)


def _onnxruntime(source: Path, out: Path, calibration: Calibration, settings: dict[str, Any]) -> None:
    """ONNX Runtime's static quantization: U8S8 per channel is the placement its own kernels fuse."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    activation = _choice(settings, "activation", types, "uint8")
    weight = _choice(settings, "weight", types, "int8")
    method = _choice(settings, "calibration", methods, "minmax")
    per_channel = settings.pop("per_channel", True)
    excluded = _excluded(onnx.load(source), settings.pop("keep_float", []))
    extra = {
        "ActivationSymmetric": settings.pop("symmetric_activations", False),
        "QuantizeBias": settings.pop("quantize_bias", True),
    }
    _nothing_left(settings, "onnxruntime")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        onnxruntime.set_default_logger_severity(3)  # its own sessions warn of what its own rewriting left over
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(out),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=activation,
                weight_type=weight,
                calibrate_method=method,
                nodes_to_exclude=excluded,
                extra_options=extra,
            )
        except _NOT_THE_GRAPHS:
            raise
        except Exception as error:  # it raises whatever a graph that it did not foresee makes it raise
            raise MachineError("ONNX Runtime's quantizer cannot quantize the graph", _first_line(error)) from None
        finally:
            onnxruntime.set_default_logger_severity(2)
    # The pre-processing adds opset imports that nothing in the graph uses; strict parsers refuse them.
    model = onnx.load(out)
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used or opset.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, str(out))


def _nncf(source: Path, out: Path, calibration: Calibration, settings: dict[str, Any]) -> None:
    """NNCF with bias correction: the placement OpenVINO fuses, a little more accurate than min-max alone."""
    import nncf  # noqa: F401, before its output is redirected: its logger keeps the stream that it finds
    import onnx

    model = onnx.load(source)
    excluded = _excluded(model, settings.pop("keep_float", []))
    with _quiet():
        onnx.save(_by_nncf(model, calibration, settings, excluded), str(out))


def quantize_openvino(model: Any, calibration: Calibration, options: Mapping[str, Any]) -> Any:
    """The OpenVINO model of what never was an ONNX, quantized by NNCF.

    Raises:
        InputError: another recipe than nncf, or a setting that it has not.
    """
    import nncf  # noqa: F401, before its output is redirected: its logger keeps the stream that it finds

    settings = dict(options)
    name = settings.pop("recipe", None)
    if name != "nncf":
        raise InputError(f"the quantization recipe {name} starts from ONNX alone", fix='recipe = "nncf"')
    settings.pop("name", None)
    nodes = [op.get_friendly_name() for op in model.get_ordered_ops()]
    excluded = settings.pop("keep_float", [])
    for node in excluded:
        if node not in nodes:
            raise InputError(f"quantization.keep_float: the graph has no node {node!r}", fix=nearest(node, nodes))
    with _quiet():
        return _by_nncf(model, calibration, settings, excluded)


def _by_nncf(model: Any, calibration: Calibration, settings: dict[str, Any], excluded: list[str]) -> Any:
    import nncf

    presets = {"mixed": nncf.QuantizationPreset.MIXED, "performance": nncf.QuantizationPreset.PERFORMANCE}
    preset = _choice(settings, "preset", presets, "mixed")
    fast = settings.pop("fast_bias_correction", True)
    _nothing_left(settings, "nncf")
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(calibration),
            preset=preset,
            subset_size=len(calibration),
            fast_bias_correction=fast,
            ignored_scope=nncf.IgnoredScope(names=excluded) if excluded else None,
        )
    except _NOT_THE_GRAPHS:
        raise
    except Exception as error:  # it raises what its many backends raise
        raise MachineError("NNCF cannot quantize the graph", _first_line(error)) from None


RECIPES: dict[str, Callable[[Path, Path, Calibration, dict[str, Any]], None]] = {
    "onnxruntime": _onnxruntime,
    "nncf": _nncf,
}


def _choice(settings: dict[str, Any], key: str, choices: Mapping[str, Any], default: str) -> Any:
    value = settings.pop(key, default)
    if value not in choices:
        raise InputError(f"quantization.{key} = {value!r} cannot be used", fix="one of " + ", ".join(choices))
    return choices[value]


def _nothing_left(settings: dict[str, Any], recipe: str) -> None:
    if settings:
        raise InputError(f"the quantization recipe {recipe} knows no setting {sorted(settings)[0]!r}")


def _excluded(model: Any, keep_float: list[str]) -> list[str]:
    """``first``, ``last`` (of the nodes that multiply) or a node's name, and all that must stay in fp32 anyway.

    Raises:
        InputError: no node of that name; the quantizers would take no notice of it.
    """
    from edgekd.nn.onnx_graph import MAC_OPS, kept_float_nodes

    nodes = [node.name for node in model.graph.node if node.op_type in MAC_OPS]
    named = {"first": nodes[:1], "last": nodes[-1:]}
    excluded = [name for key in keep_float for name in named.get(key, [key])]
    known = {node.name for node in model.graph.node if node.name}
    for name in excluded:
        if name not in known:
            raise InputError(
                f"quantization.keep_float: the graph has no node {name!r}", fix=nearest(name, ["first", "last", *known])
            )
    return list(dict.fromkeys([*excluded, *kept_float_nodes(model)]))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizers log and draw bars of their own; edgekd shows progress in one place."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
