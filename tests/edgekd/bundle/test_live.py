"""The live way: one graph prepared once, another asked for every frame."""

from __future__ import annotations

import numpy as np
import pytest

import edgekd
from edgekd.errors import InputError
from edgekd.storage import row


@pytest.fixture(params=["onnxruntime", "openvino"])
def bundle(request, mirror, mirror_bundles):
    return edgekd.open(mirror_bundles[request.param], threads=1)


@pytest.fixture
def feeds(bundle):
    return [row(bundle.vectors()["feeds"], i) for i in range(3)]


def garment(feeds):
    return {name: feeds[name] for name in ("clothes", "clothes_edge")}


def person(feeds):
    return {"person": feeds["person"]}


def test_prepared_once_it_says_of_every_frame_what_main_says(bundle, feeds):
    live = bundle.live("frame")
    assert [t.name for t in live.io.inputs] == ["person"]
    assert {t.name for t in live.prepared_from} == {"clothes", "clothes_edge"}
    live.prepare(garment(feeds[0]))
    for frame in feeds:
        wanted = bundle.session.run({**person(frame), **garment(feeds[0])})["tryon"]
        np.testing.assert_allclose(live.run(person(frame))["tryon"], wanted, atol=1e-5)


def test_what_was_prepared_is_kept_and_used_again_without_running(bundle, feeds):
    live = bundle.live()  # the only one there is
    first, second = (live.prepare(garment(feed)) for feed in feeds[:2])
    said = live.run(person(feeds[2]))["tryon"]
    live.use(first)
    assert np.abs(live.run(person(feeds[2]))["tryon"] - said).max() > 1e-3
    live.use(second)
    np.testing.assert_array_equal(live.run(person(feeds[2]))["tryon"], said)
    assert set(first.arrays) == {"garment/pyramid", "garment/masked"}
    assert first.size_bytes == 4 * (8 + 3) * 16 * 16
    other = bundle.live("frame")  # another session of the same bundle takes it too
    other.use(second)
    np.testing.assert_array_equal(other.run(person(feeds[2]))["tryon"], said)


def test_the_memory_on_a_device_is_that_of_both_graphs(bundle, monkeypatch):
    live = bundle.live("frame")
    assert live.device_bytes is None  # a runtime of the CPU counts none
    monkeypatch.setattr(type(live._session._session), "device_bytes", 1000, raising=False)
    assert live.device_bytes == 2000


def test_before_anything_is_prepared_it_says_what_to_do(bundle, feeds):
    live = bundle.live("frame")
    with pytest.raises(InputError, match="nothing is prepared") as caught:
        live.run(person(feeds[0]))
    assert "prepare(feeds)" in caught.value.fix
    live.prepare(garment(feeds[0]))
    live.run(person(feeds[0]))
    live.reset()
    with pytest.raises(InputError, match="nothing is prepared"):
        live.run(person(feeds[0]))


def test_what_another_bundle_prepared_is_refused(mirror, mirror_bundles):
    one, other = (edgekd.open(path, threads=1) for path in mirror_bundles.values())
    prepared = one.live().prepare(garment(row(one.vectors()["feeds"], 0)))
    with pytest.raises(InputError, match="prepared by another bundle") as caught:
        other.live().use(prepared)
    assert one.sha256[:12] in caught.value.why


def test_it_is_prepared_from_all_of_its_inputs_and_no_others(bundle, feeds):
    live = bundle.live()
    for wrong in ({"clothes": feeds[0]["clothes"]}, feeds[0]):
        with pytest.raises(InputError, match="it is prepared from"):
            live.prepare(wrong)
    with pytest.raises(InputError, match="clothes_edge has shape"):
        live.prepare({**garment(feeds[0]), "clothes_edge": feeds[0]["clothes"]})
    live.prepare(garment(feeds[0]))
    with pytest.raises(InputError, match="the model takes"):
        live.run(feeds[0])


def test_a_graph_that_holds_nothing_is_no_live_one(bundle, tiny_bundles):
    for name in ("garment", "main", "fram"):
        with pytest.raises(InputError, match=f"no live graph '{name}'") as caught:
            bundle.live(name)
        assert "'frame'" in caught.value.fix
    with pytest.raises(InputError, match="has no live graph"):
        edgekd.open(tiny_bundles["onnxruntime"], threads=1).live()


def test_a_pipeline_of_one_graph_makes_what_that_one_is_fed(bundle):
    raw = row(bundle.vectors()["raw"], 0)
    assert set(bundle.pipeline_of("frame").preprocess(raw)) == {"person"}
    assert set(bundle.pipeline.preprocess(raw)) == {"person", "clothes", "clothes_edge"}
