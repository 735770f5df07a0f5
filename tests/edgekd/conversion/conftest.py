"""A run on which an error anywhere on the road shows in the metric, and its canonical graph, made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TRAVEL = 0.009  # crop widths by which the sharp student's face moves with its input (standard deviation)
DEVIATION = 0.15  # of each point from the truth, in eye distances


@pytest.fixture(scope="session")
def sealed() -> Callable[[Path, Mapping[str, Any]], Path]:
    """``sealed(run, changes)``: writes keys of run.json anew, and every file's sha256 as it is now."""
    from edgekd.storage import sha256_file

    def seal(run: Path, changes: Mapping[str, Any] | None = None) -> Path:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        record.update(changes or {})
        record["files"] = {name: sha256_file(run / name) for name in record["files"]}
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
        return run

    return seal


@pytest.fixture(scope="session")
def sharp_run(tiny_run: Path, sealed: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_run`` with a head by construction, so that its metric depends on every layer before it.

    A student of one epoch answers nearly the same to every face: no calibration could hurt it. Here two
    random directions of the features move a fixed face over the crop, and the truth lies a fixed, known
    deviation beside what the student says.
    """
    import torch

    from edgekd.recipes.landmarks.pipeline import Pipeline
    from edgekd.recipes.weights import save_weights
    from edgekd.run import open_run
    from edgekd.storage import row, write_arrays
    from edgekd_targets.torch.runtime import load_student

    folder = tmp_path_factory.mktemp("sharp") / "sharp"
    shutil.copytree(tiny_run, folder)
    run = open_run(folder)
    pipeline, heldout, rng = Pipeline(run.record.io), run.heldout(), np.random.default_rng(0)
    feeds = [pipeline.preprocess(raw)["image"] for raw in heldout.raws()]
    feeds += [pipeline.preprocess(row(run.calibration(), i))["image"] for i in range(48)]
    student, pictures = load_student(run), torch.from_numpy(np.concatenate(feeds))
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        student.train()(pictures)  # the statistics of nine training steps would let nothing through
        features = student.eval().trunk(pictures).mean((2, 3))
        directions = torch.linalg.svd(features - features.mean(0))[2][:2]  # along which faces differ most
        directions *= TRAVEL / (features @ directions.T).std(0)[:, None]
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        face = np.stack([0.3 * np.cos(angle), 0.3 * np.sin(angle)], axis=1).astype(np.float32).ravel()
        student.head.weight.copy_(directions.repeat(68, 1))
        student.head.bias.copy_(torch.from_numpy(face) - (directions @ features.mean(0)).repeat(68))
        outputs = student(pictures[: len(heldout)]).numpy()[:, None]
    save_weights(student, folder / "student.safetensors")
    said = [
        pipeline.postprocess({"landmarks": o}, raw)["landmarks"] for o, raw in zip(outputs, heldout.raws(), strict=True)
    ]
    eyes = np.stack([np.linalg.norm(points[36] - points[45]) for points in said])
    beside = rng.normal(size=(len(said), 68, 2)) * DEVIATION * eyes[:, None, None]
    write_arrays(
        folder / "heldout.npz",
        {
            **{f"raw/{name}": value for name, value in heldout.raw.items()},
            "truth/landmarks": (np.stack(said) + beside).astype(np.float32),
            "student/landmarks": outputs,
        },
    )
    return sealed(folder)


@pytest.fixture(scope="session")
def canonical(sharp_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What ``sharp_run`` gives every target."""
    from edgekd.conversion.from_run import make_canonical
    from edgekd.run import open_run

    return make_canonical(open_run(sharp_run), tmp_path_factory.mktemp("canonical"))


class ScaledCalibration:
    """A calibration whose inputs are all ``factor`` times what they should be."""

    def __init__(self, calibration: Any, factor: float) -> None:
        self._calibration, self._factor = calibration, factor
        self.sha256 = calibration.sha256

    def __len__(self) -> int:
        return len(self._calibration)

    def __iter__(self) -> Any:
        for feeds in self._calibration:
            yield {name: value * np.float32(self._factor) for name, value in feeds.items()}


@pytest.fixture(scope="session")
def prebuilt(canonical: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """``prebuilt(target, precision, calibrated=1.0)``: what the target's builder makes of it, made once."""
    from edgekd.registry import builder, profile

    builders = {target: builder(target).build for target in ("onnxruntime", "openvino")}  # before a test replaces them
    made: dict[tuple[str, str, float], Any] = {}

    def build(target: str, precision: str, calibrated: float = 1.0) -> Any:
        from edgekd.contracts import Precision

        key = (target, str(precision), calibrated)
        if key not in made:
            out = tmp_path_factory.mktemp(f"{target}-{precision}")
            calibration = ScaledCalibration(canonical.calibration, calibrated) if precision == "int8" else None
            made[key] = builders[target](canonical.source, profile(target), Precision(precision), calibration, out)
        return made[key]

    return build


@pytest.fixture
def road(canonical: Any, prebuilt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Road:
    """``export`` with the shared canonical graph and, for each target, graphs that are built only once."""
    from edgekd.conversion import from_run
    from edgekd.registry import builder

    found = Road(prebuilt)
    monkeypatch.setattr(from_run, "make_canonical", lambda run, path: replace(canonical, gates=list(canonical.gates)))
    for target in ("onnxruntime", "openvino"):
        monkeypatch.setattr(builder(target), "build", found.builder(target))
    return found


class Road:
    """What the fake builders do: copy a graph made before, unless a test says what becomes of it."""

    def __init__(self, prebuilt: Callable[..., Any]) -> None:
        self._prebuilt = prebuilt
        self.calibrated: dict[tuple[str, str], float] = {}
        self.instead: dict[tuple[str, str], str] = {}  # a fallback: what is built instead
        self.fails: dict[tuple[str, str], Exception] = {}
        self.after: Callable[[Any], Any] = lambda built: built

    def builder(self, target: str) -> Callable[..., Any]:
        def build(source: Any, profile: Any, precision: Any, calibration: Any, out: Path) -> Any:
            key = (target, str(precision))
            if key in self.fails:
                raise self.fails[key]
            built = self._prebuilt(target, self.instead.get(key, str(precision)), self.calibrated.get(key, 1.0))
            for file in built.entry.parent.iterdir():
                shutil.copy(file, out / file.name)
            return self.after(replace(built, entry=out / built.entry.name, typed_onnx=out / built.typed_onnx.name))

        return build


def change_one_weight(source: Path, path: Path, name: str = "head.bias", by: float = 1e-3) -> None:
    """Writes ``source`` (ONNX) to ``path`` with the first value of one initializer changed."""
    import onnx

    model = onnx.load(source)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += by
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)


@pytest.fixture(scope="session")
def one_weight_changed() -> Callable[..., None]:
    return change_one_weight
