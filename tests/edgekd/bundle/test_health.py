from __future__ import annotations

import pytest

from edgekd.bundle import health
from edgekd.bundle.health import examine, pip_line


@pytest.fixture
def targets():
    return {row["target"]: row for row in examine()["targets"]}


def test_every_target_says_whether_it_runs_and_builds_here(targets):
    for name in ("onnxruntime", "openvino"):
        row = targets[name]
        assert (row["runs"], row["builds"], row["why"]) == (True, "yes", "")
        assert row["version"][0].isdigit()
    assert targets["torch"]["builds"] == "is a run"


def test_a_quantizer_that_is_missing_keeps_its_target_from_building_and_from_nothing_else(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from edgekd_targets.openvino import build

    def missing(name):
        raise PackageNotFoundError("nncf")

    monkeypatch.setattr(build, "version", missing)
    rows = {row["target"]: row for row in examine()["targets"]}
    assert (rows["openvino"]["runs"], rows["openvino"]["builds"]) == (True, "no")
    assert "nncf" in rows["openvino"]["why"]
    assert rows["openvino"]["fix"].startswith("pip install")
    assert rows["onnxruntime"]["builds"] == "yes"


def test_machine_facts_are_there():
    machine = examine()["machine"]
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["cpu"]


def test_the_line_that_installs_a_package_names_an_extra_that_brings_it():
    extras = health._packages_by_extra()
    assert {"onnxruntime", "openvino", "distill", "video"} <= set(extras)
    for module in ("openvino", "torch", "av"):
        extra = pip_line(module).split("[")[1].split("]")[0]
        assert module in extras[extra]
    assert pip_line("left_pad") == "pip install left-pad"


def test_a_package_that_is_missing_is_listed_with_its_extra(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    real = health.version

    def version(name):
        if name == "av":
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(health, "version", version)
    row = next(row for row in examine()["extras"] if row["extra"] == "video")
    assert row["missing"] == ["av"]
    assert row["fix"] == 'pip install "edgekd[video]"'
