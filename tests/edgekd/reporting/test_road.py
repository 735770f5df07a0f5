from __future__ import annotations

import json

import pytest

from edgekd.bundle.open import open as open_bundle
from edgekd.errors import InputError
from edgekd.reporting.origin import origin_of
from edgekd.reporting.road import stops
from edgekd.reporting.scale import UNKNOWN, Scale

NME = Scale("nme", False, {"nme": "%"})


def road(folder, measurement=None, scale=NME):
    bundle = open_bundle(folder)
    return stops(bundle.manifest, origin_of(bundle), scale, measurement, bundle.size_bytes)


def test_every_stop_has_its_metric_and_the_loss_of_the_arrow_to_it(make_run, make_bundle):
    found = road(make_bundle(make_run()))
    names = [stop.name for stop in found]
    assert names == ["teacher: tough", "student, PyTorch", "canonical ONNX", "onnxruntime int8 graph", "on device"]
    assert [stop.value for stop in found] == [5.0, 8.0, 8.0, 8.08, 8.1]
    assert found[1].loss == pytest.approx(0.6)  # 8 is 60 % worse than 5 where less is better
    assert found[3].loss == pytest.approx(0.01)
    assert "10 without teacher" in found[1].cost
    assert "latency not measured" in found[-1].cost


def test_where_more_is_better_more_is_no_loss(make_run, make_bundle):
    found = road(make_bundle(make_run()), scale=Scale("nme", True, {}))
    assert found[1].loss == pytest.approx(-0.6)


def test_of_an_unknown_recipe_no_direction_is_guessed(make_run, make_bundle):
    assert road(make_bundle(make_run()), scale=UNKNOWN)[1].loss is None


def test_the_device_s_cost_is_the_measured_one_with_its_verdict(make_run, make_bundle, make_measurement):
    from edgekd.measuring.measurement import Verdict

    contended = Verdict(label="contended", reasons=("load",))
    cost = road(make_bundle(make_run()), make_measurement(ms=2.5, verdict=contended))[-1].cost
    assert "p90 2.50 ms end-to-end" in cost
    assert cost[-1] == "contended"


def test_a_black_box_teacher_is_the_reference(make_run, make_bundle):
    run = make_run()
    data = {"sources": [], "labels": {"teacher": "dlib68"}}
    manifest = {"run": "lm", "data": data, "stages": []}
    found = road(make_bundle(run, provenance=manifest))
    assert (found[0].name, found[0].value, found[1].loss) == ("teacher: dlib68", None, None)


def test_a_provenance_of_another_shape_names_the_manifest(make_run, make_bundle):
    folder = make_bundle(make_run())
    file = folder / "manifest.json"
    data = json.loads(file.read_text())
    data["provenance"]["stages"] = ["student"]
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"manifest\.json is damaged(.|\n)*provenance"):
        road(folder)
