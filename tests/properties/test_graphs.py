"""Graphs of another's making: looked at or loaded, or one message; from their own folder alone."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs
from strategies.documents import broken
from strategies.outcome import loaded, only_within

from edgekd.bundle.inspect import inspect
from edgekd.bundle.manifest import FileFacts, read_manifest, write_manifest
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.verify import check
from edgekd.cli.main import run as edgekd
from edgekd.contracts import Graph, IoSpec, Precision, TensorSpec
from edgekd.errors import EdgekdError
from edgekd.registry import runtime
from edgekd.storage import sha256_file


def looked_at(path):
    found = inspect(path)
    found.tables(verbose=True)
    return found.lines()


@given(data=st.data())
def test_a_broken_onnx_is_shown_or_refused(data, folder, tiny_bundles):
    (folder / "a.onnx").write_bytes(data.draw(broken((tiny_bundles["onnxruntime"] / "model.onnx").read_bytes())))
    with only_within(folder):
        loaded(lambda: looked_at(folder / "a.onnx"))


@given(content=st.one_of(graphs.odd(), st.binary(max_size=300)))
def test_an_odd_onnx_is_shown_or_refused(content, folder):
    (folder / "a.onnx").write_bytes(content)
    with only_within(folder):
        loaded(lambda: looked_at(folder / "a.onnx"))


@pytest.mark.parametrize("location", graphs.ESCAPES)
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_weights_outside_of_the_folder_are_never_read(folder, location, target):
    os.symlink("../canary", folder / "link.bin")
    file = folder / "a.onnx"
    file.write_bytes(graphs.external(location, length=9).SerializeToString())
    loaded(lambda: looked_at(file))
    io = IoSpec(inputs=(TensorSpec(name="x", shape=(4,)),), outputs=(TensorSpec(name="y", shape=(4,)),))
    graph = Graph(file, io, Precision.FP32, {"device": "CPU" if target == "openvino" else "cpu", "threads": 1})
    for use in (runtime(target).load, runtime(target).placement):
        assert isinstance(loaded(lambda use=use: use(graph)), EdgekdError)


@pytest.mark.parametrize(
    ("target", "name"), [("onnxruntime", "model.onnx"), ("openvino", "model.xml"), ("openvino", "model.bin")]
)
@settings(max_examples=8)
@given(data=st.data())
def test_a_broken_graph_runs_or_is_refused_even_where_it_is_sealed(target, name, data, folder, tiny_bundles):
    bundle = folder / "b"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(tiny_bundles[target], bundle)
    (bundle / name).write_bytes(data.draw(broken((bundle / name).read_bytes())))
    facts = FileFacts(sha256=sha256_file(bundle / name), bytes=(bundle / name).stat().st_size)
    manifest = read_manifest(bundle)
    write_manifest(bundle, manifest.model_copy(update={"files": {**manifest.files, name: facts}}))
    loaded(lambda: check(open_bundle(bundle, threads=1)))


def _io(manifest, change):
    graph = manifest.graphs["main"]
    io = IoSpec.model_validate(change(graph.io.model_dump()))
    return manifest.model_copy(update={"graphs": {"main": graph.model_copy(update={"io": io})}})


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "change",
    [
        lambda io: io["inputs"][0].update(shape=(1, 3, 31, 32)),
        lambda io: io["inputs"][0].update(shape=(1, 3, "h", "w")),
        lambda io: io["inputs"][0].update(dtype="uint8"),
        lambda io: io["inputs"][0].update(dtype="int64"),
        lambda io: io["inputs"][0].update(name="picture"),
        lambda io: io["outputs"][0].update(name="points"),
        lambda io: io.update(outputs=()),
        lambda io: io.update(inputs=()),
        lambda io: io.update(inputs=io["inputs"] * 2),
        lambda io: io.update(state={"landmarks": "image"}),
        lambda io: io["inputs"][0].update(shape=(1, 3, -1, 0)),
        lambda io: io["inputs"][0].update(shape=(2**40, 3, 2**20, 32)),
    ],
)
def test_an_io_spec_of_another_graph_is_one_message(folder, tiny_bundles, target, change, capfd):
    bundle = shutil.copytree(tiny_bundles[target], folder / "b")
    manifest = read_manifest(bundle)

    def changed(io):
        change(io)
        return io

    try:
        write_manifest(bundle, _io(manifest, changed))
    except ValueError:
        return  # the model itself refuses it
    for recipe in ("landmarks", None):
        write_manifest(bundle, read_manifest(bundle).model_copy(update={"recipe": recipe}))
        code = edgekd(["verify", str(bundle), "--threads", "1"])
        err = capfd.readouterr().err
        assert code in (2, 3, 4), err
        assert err.count("error: ") == 1
        np.savez(folder / "x.npz", image=np.zeros((1, 3, 32, 32), np.float32))
        code = edgekd(["predict", str(bundle), str(folder / "x.npz"), "--threads", "1"])
        err = capfd.readouterr().err
        assert code in (2, 3, 4), err
        assert err.count("error: ") == 1
