"""What a machine says that cannot run an engine, and why. Nothing here shows that one works: that takes a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekd.contracts import EngineFacts, Graph, Precision
from edgekd.errors import Exit, InputError, MachineError
from edgekd.registry import profile
from edgekd_targets.tensorrt import build as builder
from edgekd_targets.tensorrt import cuda, runtime

trt = pytest.importorskip("tensorrt_rtx")

RTX = profile("tensorrt/rtx")


@pytest.fixture(scope="module")
def graph(source, calibration, tmp_path_factory):
    out = tmp_path_factory.mktemp("engine")
    built = builder.build(source, RTX, Precision.MIXED, calibration, out)
    return Graph(built.entry, source.io, Precision.MIXED, RTX.options, built.engine)


@pytest.fixture
def changed(graph, tmp_path):
    """``changed(bytes)``: the graph with another engine, and no typed ONNX beside it."""

    def change(serialized: bytes) -> Graph:
        path = tmp_path / "model.engine"
        path.write_bytes(serialized)
        return replace(graph, path=path)

    return change


@pytest.fixture
def no_gpu():
    try:
        cuda.first_device()
    except MachineError:
        return
    pytest.skip("there is a GPU here")


def test_without_a_driver_it_says_so_and_where_to_go(graph, no_gpu):
    probe = runtime.probe()
    assert not probe.can_run
    assert probe.version == f"TensorRT-RTX {trt.__version__}"
    assert "no NVIDIA driver" in probe.why
    assert "nvidia-smi" in probe.fix
    with pytest.raises(MachineError, match="there is no NVIDIA driver here") as caught:
        runtime.load(graph)
    assert caught.value.code == Exit.MACHINE


def test_where_it_does_not_load_the_types_are_those_of_the_network(graph, no_gpu):
    found = runtime.placement(graph)
    assert found.source == f"typed network of TensorRT-RTX {trt.__version__}; types, not kernels"
    assert found.share_of_macs("precision") == {"int8": pytest.approx(1)}
    assert {"fp16", "int8", "convert"} <= {node.precision for node in found.nodes}


def test_without_the_typed_graph_it_cannot_tell_either(graph, changed, no_gpu):
    with pytest.raises(MachineError, match="no NVIDIA driver"):
        runtime.placement(changed(graph.path.read_bytes()))


def test_a_truncated_engine_is_told_without_loading_it(graph, changed):
    whole = graph.path.read_bytes()
    with pytest.raises(InputError, match="is truncated") as caught:
        runtime.load(changed(whole[: len(whole) // 2]))
    assert f"of {len(whole):,} bytes" in caught.value.why


@pytest.mark.parametrize("wrong", [b"", b"PK\x03\x04" * 40])
def test_what_is_no_engine(wrong, changed):
    with pytest.raises(InputError, match="is no TensorRT-RTX engine"):
        runtime.load(changed(wrong))


def test_an_engine_whose_header_names_another_version(graph, changed):
    serialized = bytearray(graph.path.read_bytes())
    assert list(serialized[24:28]) == [int(part) for part in trt.__version__.split(".")]  # where 1.7 keeps it
    serialized[25] -= 1
    with pytest.raises(MachineError, match="was built by another TensorRT-RTX") as caught:
        runtime.load(changed(bytes(serialized)))
    assert "version 1.6.1" in caught.value.why
    assert "edgekd rebuild" in caught.value.fix


def test_an_engine_whose_manifest_names_another_version(graph):
    other = replace(graph, engine=graph.engine.model_copy(update={"version": "1.6.0.9"}))
    with pytest.raises(MachineError, match=r"built by TensorRT-RTX 1\.6\.0\.9, and .* is here") as caught:
        runtime.load(other)
    assert "edgekd rebuild" in caught.value.fix


def test_what_is_yet_to_be_built_says_how(graph):
    typed = replace(graph, path=graph.path.with_suffix(".onnx"), engine=EngineFacts(builder="TensorRT"))
    with pytest.raises(MachineError, match="no engine was built") as caught:
        runtime.load(typed)
    assert "edgekd rebuild" in caught.value.fix


def test_full_tensorrt_that_is_not_installed(graph):
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MachineError, match="TensorRT is not installed") as caught:
            runtime.load(replace(graph, options={"flavour": "full"}))
        assert "edgekd[tensorrt]" in caught.value.fix
    else:
        pytest.skip("full TensorRT is here")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"flavour": "rtx", "streams": 2}, "no runtime option 'streams'"),
        ({"flavour": "lean"}, "no flavour 'lean'"),
        ({}, "no flavour None"),
    ],
)
def test_options_that_it_has_not(options, says, graph):
    with pytest.raises(InputError, match=says):
        runtime.load(replace(graph, options=options))
