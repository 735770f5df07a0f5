"""The engine inspector's JSON, as NVIDIA's documentation shows it: no engine loads without a GPU."""

from __future__ import annotations

import json

from edgekd_targets.tensorrt.inspector import from_json


def _layer(name, read, made, owners, **more):
    sides = {
        side: [{"Name": "t", "Dimensions": [1, 8, 4, 4], "Format/Datatype": text}] if text else []
        for side, text in (("Inputs", read), ("Outputs", made))
    }
    metadata = "\x1e".join(f"[ONNX Layer: {owner}]" for owner in owners)
    return {"Name": name, "LayerType": "CaskConvolution", **sides, "Metadata": metadata, **more}


HALF = "Channel major FP16 format where channel % 8 == 0"
INT8 = "Thirty-two wide channel vectorized row major Int8 format"


def test_types_come_from_formats_and_costs_from_the_nodes_that_were_fused():
    text = json.dumps(
        {
            "Layers": [
                _layer("conv + relu", HALF, HALF, ["conv", "relu"], TacticName="sm80_xmma_fprop"),
                _layer("quantized", INT8, HALF, ["second", "residual"]),
                _layer("cast", "Row major linear FP32", HALF, []),
                _layer("myelin", "Half", "Half", ["head"]),
            ],
            "Bindings": ["image", "scores"],
        }
    )
    found = from_json(text, {"conv": 30, "second": 60, "head": 10}, "GPU (sm_86)")
    assert [(n.precision, n.macs, n.owner) for n in found.nodes] == [
        ("fp16", 30, "conv"), ("int8", 60, "second"), ("fp16", 0, ""), ("fp16", 10, "head"),
    ]  # fmt: skip
    assert [n.kernel for n in found.nodes] == ["sm80_xmma_fprop", HALF, HALF, "Half"]
    assert found.share_of_macs("precision") == {"int8": 0.6, "fp16": 0.4}
    assert found.source == "TensorRT engine inspector"


def test_an_inspector_that_tells_names_alone_tells_no_types():
    assert from_json(json.dumps({"Layers": ["conv + relu", "head"]}), {}, "GPU") is None
    assert from_json(json.dumps({"Layers": [_layer("conv", "", "", ["conv"])]}), {}, "GPU") is None
    assert from_json("{}", {}, "GPU") is None
