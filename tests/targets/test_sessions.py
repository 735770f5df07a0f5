"""What every runtime's session must do alike; the same student in three of them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from edgekd.bundle.artifact import open_artifact
from edgekd.bundle.open import open as open_bundle
from edgekd.errors import InputError, MachineError
from edgekd.registry import runtime

TARGETS = ("onnxruntime", "openvino", "torch")


@pytest.fixture(scope="module")
def graphs(tiny_run, tiny_bundles):
    """Target -> its graph of the tiny student in fp32, on one thread."""
    found = {name: open_bundle(path, threads=1).graph() for name, path in tiny_bundles.items()}
    return found | {"torch": open_artifact(str(tiny_run), None, threads=1).graph}


@pytest.fixture(scope="module")
def sessions(graphs):
    return {target: runtime(target).load(graph) for target, graph in graphs.items()}


@pytest.fixture(scope="module")
def feeds():
    rng = np.random.default_rng(0)
    return [{"image": rng.random((1, 3, 32, 32), dtype=np.float32)} for _ in range(4)]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_each_gives_in_fp32_what_pytorch_gives(target, sessions, feeds):
    for feed in feeds:
        found, wanted = (sessions[t].run(feed)["landmarks"] for t in (target, "torch"))
        assert found.dtype == np.float32
        assert found.shape == (1, 136)
        assert np.abs(found - wanted).max() / max(1, np.abs(wanted).max()) < 1e-4


@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_does_not_change_when_the_next_one_comes(target, sessions, feeds):
    first = sessions[target].run(feeds[0])["landmarks"]
    kept = first.copy()
    sessions[target].run({"image": 1 - feeds[1]["image"]})
    np.testing.assert_array_equal(first, kept)
    first[:] = 7  # the caller's own
    np.testing.assert_array_equal(sessions[target].run(feeds[0])["landmarks"], kept)


@pytest.mark.parametrize("target", TARGETS)
def test_feeds_are_left_alone_and_may_lie_in_any_order_in_memory(target, sessions, feeds):
    image = feeds[0]["image"]
    before = image.copy()
    strided = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not strided.flags.c_contiguous
    whole = sessions[target].run(feeds[0])["landmarks"]
    np.testing.assert_array_equal(sessions[target].run({"image": strided})["landmarks"], whole)
    np.testing.assert_array_equal(sessions[target].run({"image": image.astype(np.float64)})["landmarks"], whole)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("wrong", [{}, {"picture": None}, {"image": None, "more": None}])
def test_names_that_are_not_the_models_are_refused(target, wrong, sessions, feeds):
    with pytest.raises(InputError, match=r"the model takes \['image'\]"):
        sessions[target].run(dict.fromkeys(wrong, feeds[0]["image"]))


@pytest.mark.parametrize("target", TARGETS)
def test_a_shape_that_does_not_fit_is_refused_and_not_broadcast(target, sessions):
    for shape in ((1, 3, 64, 64), (2, 3, 32, 32), (3, 32, 32)):
        with pytest.raises(InputError, match="image has shape"):
            sessions[target].run({"image": np.zeros(shape, np.float32)})


@pytest.mark.parametrize("target", TARGETS)
def test_an_option_it_does_not_know_is_refused(target, graphs):
    with pytest.raises(InputError) as caught:
        runtime(target).load(replace(graphs[target], options={"threads": 1, "thread": 2}))
    assert "thread" in str(caught.value)
    assert "threads" in caught.value.fix


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("threads", [-1, 1.5, "two"])
def test_a_number_of_threads_that_is_none_is_refused(target, threads, graphs):
    with pytest.raises(InputError, match="threads"):
        runtime(target).load(replace(graphs[target], options={"threads": threads}))


@pytest.mark.parametrize("target", TARGETS)
def test_it_tells_what_it_is_and_what_layers_cost(target, graphs, feeds):
    probe = runtime(target).probe()
    assert probe.can_run
    assert probe.version[0].isdigit()
    assert probe.devices
    rows = runtime(target).profile_layers(graphs[target], feeds)
    times = [ms for _, _, ms in rows]
    assert times == sorted(times, reverse=True)
    assert times[0] > 0
    assert any("conv" in f"{name}{kernel}".lower() for name, kernel, _ in rows)


@pytest.mark.parametrize("target", TARGETS)
def test_a_package_that_is_not_there_is_named_with_the_line_that_installs_it(target, graphs, monkeypatch):
    from edgekd.errors import MachineError

    monkeypatch.setitem(sys.modules, target, None)
    if target == "openvino":  # the process's one core stays loaded; this one has none yet
        monkeypatch.setattr(runtime(target), "_core", runtime(target)._core.__wrapped__)
    probe = runtime(target).probe()
    assert not probe.can_run
    assert target in probe.why
    assert probe.fix.startswith('pip install "edgekd[')
    with pytest.raises(MachineError, match=f"{target} is not installed") as caught:
        runtime(target).load(graphs[target])
    assert caught.value.fix == probe.fix


@pytest.mark.parametrize(("target", "device"), [("onnxruntime", "cuda"), ("openvino", "NPU.7")])
def test_a_profile_for_another_device_is_refused_and_never_run_on_the_cpu_instead(tiny_bundles, target, device):
    bundle = open_bundle(tiny_bundles[target])
    graph = bundle.graph()
    assert graph.options["device"].lower() == "cpu"
    with pytest.raises(MachineError, match=device):
        bundle.runtime.load(replace(graph, options={**graph.options, "device": device}))


@pytest.mark.parametrize("target", TARGETS)
def test_feeds_that_must_not_be_written_to_are_taken(target, sessions, feeds):
    image = feeds[0]["image"].copy()
    image.flags.writeable = False
    np.testing.assert_array_equal(
        sessions[target].run({"image": image})["landmarks"], sessions[target].run(feeds[0])["landmarks"]
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_feed_may_be_forgotten_or_changed_as_soon_as_the_answer_is_there(target, sessions, feeds):
    wanted = sessions[target].run(feeds[0])["landmarks"]
    image = feeds[0]["image"].copy()
    found = sessions[target].run({"image": image})["landmarks"]
    image[:] = 9
    del image
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(sessions[target].run(feeds[0])["landmarks"], wanted)


def test_eager_layers_are_the_modules_with_their_kinds(graphs, feeds):
    rows = runtime("torch").profile_layers(graphs["torch"], feeds)
    known = {node.name: node.op for node in runtime("torch").placement(graphs["torch"]).nodes}
    assert all(known[name] == kind for name, kind, _ in rows)
    assert {"Conv2d", "Linear"} <= {kind for _, kind, _ in rows}


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_layers_are_known_to_the_placement_so_that_their_precision_is_told(target, graphs, feeds):
    known = {node.name for node in runtime(target).placement(graphs[target]).nodes}
    rows = runtime(target).profile_layers(graphs[target], feeds)
    assert sum(ms for name, _, ms in rows if name in known) > 0.9 * sum(ms for _, _, ms in rows)
