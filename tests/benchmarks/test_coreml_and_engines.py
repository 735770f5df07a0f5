"""What the two benchmarks of targets that are not here make of their rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def coreml():
    return script("coreml")


def row(name, sqnr=30.0, by="edgekd", precision="int8", **more):
    return {
        "name": name, "by": by, "precision": precision, "seconds": 1.0, "bytes": 2_000_000, "macs": {"int8": 0.9},
        "sqnr_db": {"said": sqnr}, "metric": 0.5, "loss": 0.01, "passed": True, "why": "", **more,
    }  # fmt: skip


def results(*rows):
    way = {"statistics": "percentile", "activation": "uint8", "pairs": "inputs"}
    run = {"recipe": "tryon", "preset": "quick", "metric": "ssim", "heldout": 4, "calibration": 8, "rows": list(rows)}
    return {
        "created": "2026-01-01T00:00:00",
        "quick": False,
        "versions": {"torch": "2"},
        "way": way,
        "runs": {"r": run},
    }


def test_ways_stand_by_their_exactness_on_the_calibration_set_and_the_profiles_is_marked(coreml):
    rows = [
        row("fp16", 60, precision="fp16"),
        row("W8A8, torch PT2E", by="torchao", error="TypeError: no"),
        row("int8, minmax, int8, both", calibration_sqnr_db=20.0),
        row("int8, percentile, uint8, inputs", calibration_sqnr_db=31.0),
        row("int8, mse, uint8, inputs", calibration_sqnr_db=33.5, passed=False),
    ]
    text = coreml.section(results(*rows))
    order = [text.index(name) for name in ("| mse, uint8", "| percentile, uint8, inputs (the profiles')", "| minmax")]
    assert order == sorted(order)
    assert "The profiles' way is 2.5 dB behind the best." in text
    assert "| W8A8, torch PT2E | torchao | cannot be made: TypeError: no |" in text
    assert text.count("**failed**") == 1


def test_where_int8_fails_the_layers_at_which_it_falls_are_named(coreml):
    layers = [{"layer": f"conv_{k}", "type": "int8", "sqnr_db": 30.0 - k, "fall_db": 9.0 - k} for k in range(7)]
    text = coreml.section(results(row("int8", passed=False, calibration_sqnr_db=9.0, layers=layers)))
    assert "falls most from one layer to the next at: conv_0 (int8) by 9.0 dB to 30.0 dB; conv_1" in text
    assert "conv_5" not in text


class Constant:
    """A session that says what it was given, with noise of one size."""

    def __init__(self, noise):
        self.noise = noise

    def run(self, feeds):
        return {"y": feeds["x"] + self.noise}


def test_sqnr_over_the_calibration_set_is_over_all_samples_together(coreml):
    feeds = [{"x": np.full(4, size, np.float32)} for size in (1.0, 3.0)]

    class Canonical:
        class start:  # noqa: N801
            calibrations = {"main": feeds}  # noqa: RUF012

    exact = [Constant(0).run(feed) for feed in feeds]
    assert coreml.sqnr(Canonical, exact, Constant(0)) is None
    assert coreml.sqnr(Canonical, exact, Constant(np.float32(0.1))) == pytest.approx(10 * np.log10(5 / 0.01), abs=1e-3)


def test_a_graph_that_is_not_built_says_why():
    engines = script("engines")
    conditions = {"made": "2026-01-01", "machine": "a machine", "versions": {"onnx": "1"}}
    judged = {"metric": "ssim", "before": 0.5, "after": 0.49, "loss": 0.02, "sqnr_db": 31.0, "passed": True}
    judged["macs"] = {"int8": 0.97, "fp16": 0.03}
    rows = [
        {"run": "r", "name": "edgekd int8", "typed_bytes": 1e6, "engine_bytes": 2e6, "build_s": 3.0, **judged},
        {"run": "r", "name": "quantize_static", "typed_bytes": 1e6, "not_built": "no int32 biases", **judged},
        {"run": "r", "name": "ModelOpt int8", "error": "not installed"},
    ]
    text = engines.section({"conditions": conditions, "rows": rows})
    assert "| r | edgekd int8 | ssim 0.5 → 0.49 | +2.00% | 31.0 | 97% | 1.0 | 2.0 | 3.0 s |" in text
    assert "no: no int32 biases" in text
    assert "| r | ModelOpt int8 | | | | | | | not installed |" in text
