"""A file that somebody else wrote as the canonical graph, judged by numbers: no recipe knows what it is for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekd.bundle.manifest import GateRecord
from edgekd.contracts import Array, Built, IoSpec, Precision, Session, Source, TensorSpec
from edgekd.conversion.gates import SQNR_LIMIT, Witness, judge_numbers, require
from edgekd.conversion.samples import (
    ArraySamples,
    Part,
    PictureSamples,
    Preprocess,
    RandomSamples,
    Samples,
    read_preprocess,
    split,
    with_examples,
)
from edgekd.conversion.trial import Canonical, Readme
from edgekd.errors import InputError
from edgekd.nn.onnx_file import canonicalize, freeze, io_of, parse_shapes, read_onnx
from edgekd.nn.onnx_reference import OnnxReference
from edgekd.registry import builder, target_entry, targets
from edgekd.storage import sha256_file

FORMATS: dict[str, Literal["onnx", "tflite"]] = {".onnx": "onnx", ".tflite": "tflite"}


@dataclass(frozen=True)
class FileRequest:
    """A model file and how it is to be fed.

    Args:
        calibration: an .npz of stacked samples, or a folder of pictures with ``preprocess``, a TOML.
        shapes: ``NAME=SIZES`` or ``AXIS=SIZE``, for what may be any size.
    """

    path: Path
    calibration: Path | None = None
    preprocess: Path | None = None
    shapes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def format(self) -> Literal["onnx", "tflite"]:
        return FORMATS[self.path.suffix.lower()]


@dataclass(kw_only=True)
class FileCanonical(Canonical):
    """A foreign model. ``samples`` says what it is judged on; ``notes`` what was done to the file."""

    request: FileRequest
    heldout: Part
    samples: str
    reference_name: str
    notes: tuple[str, ...]
    weights: dict[str, int]

    def judge(self, arrow: str, before: Witness, after: Witness, precision: Precision, where: str) -> GateRecord:
        return judge_numbers(arrow, before, after, precision=precision, where=where)

    def witness(self, session: Session) -> Witness:
        return _witness(session, self.heldout)

    def raws(self, count: int) -> list[dict[str, Any]]:
        return []

    def feeds(self, count: int) -> list[dict[str, Array]]:
        return [feeds for feeds, _ in zip(self.heldout, range(count), strict=False)]

    def facts(self, folder: Path) -> dict[str, Any]:
        request = self.request
        return {
            "recipe": None,
            "versions": {},
            "licences": {request.path.name: "unknown: the file does not say"},
            "provenance": {
                "model": request.path.name,
                "model_sha256": sha256_file(request.path),
                "shapes": list(request.shapes),
                "judged_on": self.samples,
                "calibrated_on": self.samples if self.calibration else "nothing: no calibration was given",
                "heldout_sha256": self.heldout.sha256,
                "heldout_samples": len(self.heldout),
                "reference": self.reference_name,
                "notes": list(self.notes),
            },
            "weights": self.weights,
        }

    def readme(self, name: str, gate: GateRecord, precision: Precision) -> Readme:
        worst = min(gate.distance.values(), key=lambda d: float("inf") if d.sqnr_db is None else d.sqnr_db)
        sqnr = "equal" if worst.sqnr_db is None else f"{worst.sqnr_db:.1f} dB SQNR"
        return Readme(
            what=f"{self.request.path.name}",
            found=f"On {gate.samples} held-out samples ({self.samples}) its least exact output is {sqnr} "
            f"from {gate.arrow.partition(' → ')[0]}, max|a-b| {worst.relative_max:.2g}.",
            snippet=f'bundle = edgekd.open("{name}")\n'
            'feeds = {key: value[0] for key, value in bundle.vectors()["feeds"].items()}\n'
            "outputs = bundle.session.run(feeds)",
        )


def is_model_file(path: Path) -> bool:
    return path.suffix.lower() in FORMATS


def make_foreign(request: FileRequest, path: Path, asked: Sequence[str]) -> FileCanonical:
    """File -> canonical graph at ``path``, gated.

    Args:
        asked: names of the targets, of which one must read what is no ONNX.

    Raises:
        InputError: the file, its calibration or a shape cannot be used; the message names the node or the array.
        GateError: the canonical graph says something else than the file.
        MachineError: what is needed to read it is missing here.
    """
    make: Callable[[FileRequest, Path, Sequence[str]], FileCanonical]
    make = _from_onnx if request.format == "onnx" else _from_other
    return make(request, path, asked)


def reads(target: str, format: str) -> bool:
    """Whether the target's builder starts from files of this format."""
    return format in getattr(builder(target), "FORMATS", ("onnx",))


def refusal(target: str, format: str) -> InputError:
    able = [name for name in targets() if (target_entry(name).folder / "build.py").exists() and reads(name, format)]
    return InputError(
        f"{target} reads no .{format}", "there is no ONNX of this model", f"--target {able[0]}" if able else ""
    )


def _from_onnx(request: FileRequest, path: Path, asked: Sequence[str]) -> FileCanonical:
    import onnx

    from edgekd.nn.onnx_graph import macs_by_node

    model = read_onnx(request.path)
    freeze(model, parse_shapes(request.shapes))
    given = path.with_name("given.onnx")
    io = io_of(model, request.path)
    samples, calibration, heldout, io = _feeds(request, io)
    notes = canonicalize(model, path)
    onnx.save(model, str(given))
    before = _witness(OnnxReference(given, io), heldout)
    written = onnx.load(path)
    named = io_of(written, request.path)
    found = before.outputs
    io = io.model_copy(update={"outputs": tuple(_ranked(t, found[t.name].shape[1:]) for t in named.outputs)})
    reference = OnnxReference(path, io)
    exported = _witness(reference, heldout)
    gate = judge_numbers(
        f"{request.path.name} → canonical ONNX", before, exported, precision=Precision.FP32, where=reference.name
    )
    require(gate)
    constants = written.graph.initializer
    weights = {
        "weights": sum(_elements(t) for t in constants),
        "bytes": sum(_elements(t) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in constants),
        "macs": sum(macs_by_node(written, io).values()),
    }
    return FileCanonical(
        source=Source(path, io),
        origin=request.path.name,
        calibration=calibration,
        first=before,
        reference=exported,
        gates=[gate],
        least_db=SQNR_LIMIT,
        request=request,
        heldout=heldout,
        samples=samples.origin,
        reference_name=reference.name,
        notes=notes,
        weights=weights,
    )


def _from_other(request: FileRequest, path: Path, asked: Sequence[str]) -> FileCanonical:
    """What only a target's own reader understands: that target is also its reference, and says so."""
    able = [target for target in asked if reads(target, request.format)]
    if not able:
        raise refusal(asked[0], request.format)
    if request.shapes:
        raise InputError(f"--shape cannot be used with .{request.format}", "its shapes are fixed")
    if not request.path.is_file():
        raise InputError(f"there is no model {request.path}", fix="edgekd export model.tflite --target openvino")
    make = builder(able[0])
    io, weights = make.describe(request.path)  # type: ignore[attr-defined]
    shutil.copyfile(request.path, path)
    samples, calibration, heldout, io = _feeds(request, io)
    reference = make.reference(Built(path, None), io)
    said = _witness(reference, heldout)
    name = getattr(reference, "name", able[0])
    return FileCanonical(
        source=Source(path, io, format=request.format),
        origin=request.path.name,
        calibration=calibration,
        first=said,
        reference=said,
        request=request,
        heldout=heldout,
        samples=samples.origin,
        reference_name=name,
        notes=(f"nothing but {able[0]} reads .{request.format} here, so it is its own reference",),
        weights=weights,
    )


def _feeds(request: FileRequest, io: IoSpec) -> tuple[Samples, Part | None, Part, IoSpec]:
    """Samples, those that calibrate, those that judge, and the spec with what is now known of the inputs."""
    preprocess = read_preprocess(request.preprocess) if request.preprocess else None
    if request.calibration is None:
        if preprocess:
            raise InputError("--preprocess needs --calibration DIR", "it says how pictures are fed")
        noise = RandomSamples(io)
        return noise, None, Part(noise, range(len(noise)), io), io
    samples = _read_samples(request.calibration, preprocess, io)
    calibration, heldout = split(samples, io)
    io = with_examples(io, next(iter(heldout)))
    if preprocess:
        image = {k: v for k, v in preprocess.model_dump().items() if k not in ("size", "layout")}
        (spec,) = io.inputs
        spec = TensorSpec.model_validate({**spec.model_dump(), "layout": preprocess.layout, "image": image})
        io = io.model_copy(update={"inputs": (spec,)})
    return samples, calibration, heldout, io


def _read_samples(calibration: Path, preprocess: Preprocess | None, io: IoSpec) -> Samples:
    if calibration.is_dir():
        if preprocess is None:
            raise InputError(
                f"{calibration} is a folder of pictures", "how they are fed is not said", "--preprocess FILE.toml"
            )
        return PictureSamples(calibration, preprocess, io)
    if preprocess is not None:
        raise InputError("--preprocess is for a folder of pictures", f"{calibration} is a file")
    return ArraySamples(calibration, io)


def _witness(session: Session, heldout: Part) -> Witness:
    """Raises InputError for an output whose shape depends on the values that are fed."""
    outputs = [session.run(feeds) for feeds in heldout]
    for name, first in outputs[0].items():
        shapes = {found[name].shape for found in outputs}
        if len(shapes) > 1:
            raise InputError(
                f"the output {name!r} has another shape for other values: {' and '.join(map(str, sorted(shapes)[:2]))}",
                "such an output cannot be compared number by number",
                "cut the model before the node that selects",
            )
        if first.size == 0:
            raise InputError(f"the output {name!r} is empty on the samples", "there is nothing to compare")
    return Witness(outputs)


def _ranked(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    """An output whose rank only a run shows gets axes of any size."""
    if len(spec.shape) == len(shape):
        return spec
    return spec.model_copy(update={"shape": tuple(f"{spec.name}_{axis}" for axis in range(len(shape)))})


def _elements(tensor: Any) -> int:
    count = 1
    for axis in tensor.dims:
        count *= axis
    return count
