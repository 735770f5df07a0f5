"""What a model marks as positions stays in fp32 in OpenVINO, whatever else is built."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.bundle.placement import kept_float, lost_float
from edgekd.contracts import Graph, IoSpec, Precision, Source, TensorSpec
from edgekd.conversion.to_onnx import export_onnx
from edgekd.nn.keep_float import KeepFloat
from edgekd.nn.onnx_graph import KEEP_FLOAT, kept_float_nodes
from edgekd.registry import builder, profile, runtime

SIDE = 16
IO = IoSpec(
    inputs=(TensorSpec(name="image", shape=(1, 3, SIDE, SIDE)),),
    outputs=(TensorSpec(name="warped", shape=(1, 8, 2 * SIDE, 2 * SIDE)),),
)


class Flow(KeepFloat):
    """Offsets of a tenth of a pixel upon a grid whose values a bf16 cannot tell apart that finely."""

    def __init__(self):
        super().__init__()
        rows = torch.linspace(-1, 1, SIDE)
        self.register_buffer("base", torch.stack(torch.meshgrid(rows, rows, indexing="xy"))[None])
        self.offset = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image):
        grid = self.base + 0.1 * self.offset(image) / (SIDE / 2)
        return F.interpolate(grid, scale_factor=2.0, mode="bilinear", align_corners=False)


class Warped(nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow, self.features = flow, nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, image):
        return F.grid_sample(self.features(image), self.flow(image).permute(0, 2, 3, 1), align_corners=True)


class Calibration:
    sha256 = "0" * 64

    def __len__(self):
        return 4

    def __iter__(self):
        for seed in range(4):
            yield {"image": np.random.default_rng(seed).random(IO.inputs[0].shape, np.float32)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("marked") / "main.onnx"
    module = Warped(Flow()).eval()
    export_onnx(module, IO, path)
    return Source(path, IO, module)


def built(target, source, precision, way=None):
    found = profile(target)
    out = source.model.parent / f"{target}-{precision}{way or ''}-{source.model.stem}"
    out.mkdir()
    chosen = next((w for w in found.quantization if w.get("name") == way), None)
    made = builder(target).build(source, found.only(chosen) if chosen else found, precision, Calibration(), out)
    return Graph(made.entry, IO, precision, {**found.options, "threads": 1}), made


def test_the_nodes_of_a_marked_module_are_known_by_their_names_and_no_others(source):
    kept = kept_float_nodes(onnx.load(source.model))
    ops = [n.op_type for n in onnx.load(source.model).graph.node if n.name in kept]
    assert sorted(ops) == ["Add", "Conv", "Div", "Mul", "Resize"]
    others = [n.op_type for n in onnx.load(source.model).graph.node if n.name not in kept]
    assert sorted(others) == ["Conv", "GridSample", "Transpose"]


def test_under_the_bf16_hint_every_marked_node_is_in_fp32_and_the_others_are_not(source):
    graph, _ = built("openvino", source, Precision.BF16)
    placement = runtime("openvino").placement(graph)
    assert len(kept_float(placement)) >= 3
    assert lost_float(placement) == ()
    assert "bf16" in {n.precision for n in placement.nodes if n.op == "Convolution"}
    resize = next(n for n in placement.nodes if n.op == "Interpolate")
    assert resize.precision == "fp32"


def test_without_the_mark_they_would_be_in_bf16(source, tmp_path):
    """What the mark is for, and what ``lost_float`` reads back: the same names, built by a builder that ignores them."""
    import openvino

    plain = tmp_path / "model.xml"
    openvino.save_model(openvino.Core().read_model(source.model), plain, compress_to_fp16=False)
    options = {**profile("openvino").options, "threads": 1}
    placement = runtime("openvino").placement(Graph(plain, IO, Precision.BF16, options))
    assert {"Interpolate"} <= {n.op for n in lost_float(placement)}


def test_the_positions_are_as_exact_as_the_mark_says(source, tmp_path):
    """The grid alone: marked, bf16 gives what fp32 gives; its rounding would move it by far more than the offsets."""
    io = IoSpec(inputs=IO.inputs, outputs=(TensorSpec(name="grid", shape=(1, 2, 2 * SIDE, 2 * SIDE)),))
    path = tmp_path / "grid.onnx"

    class Grid(nn.Module):
        def __init__(self, flow):
            super().__init__()
            self.flow = flow

        def forward(self, image):
            return self.flow(image)

    export_onnx(Grid(source.module.flow).eval(), io, path)
    found = profile("openvino")
    said = {}
    for precision in (Precision.FP32, Precision.BF16):
        out = tmp_path / str(precision)
        out.mkdir()
        made = builder("openvino").build(Source(path, io), found, precision, None, out)
        session = runtime("openvino").load(Graph(made.entry, io, precision, {**found.options, "threads": 1}))
        said[precision] = session.run(next(iter(Calibration())))["grid"]
    assert np.abs(said[Precision.BF16] - said[Precision.FP32]).max() < 1e-6


@pytest.mark.parametrize(("target", "way"), [("onnxruntime", None), ("openvino", "nncf"), ("openvino", "onnxruntime")])
def test_no_quantizer_touches_a_marked_node(target, way, source):
    graph, made = built(target, source, Precision.INT8, way)
    model = onnx.load(made.typed_onnx)
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name.startswith(KEEP_FLOAT) and node.op_type in ("Conv", "Add", "Mul", "Div"):
            weight = producers.get(node.input[1])
            assert weight is None or weight.op_type != "DequantizeLinear", node.name
    placement = runtime(target).placement(graph)
    assert kept_float(placement)
    assert lost_float(placement) == ()
    assert placement.share_of_macs("precision").get("int8", 0) > 0.5
