"""``--json``: one JSON document on standard output and nothing else there, whatever became of the verb."""

from __future__ import annotations

import json

import pytest


def _no_constants(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.fixture
def document(edgekd):
    """``document(code, *arguments)``: what the verb printed, read strictly."""

    def call(code, *arguments):
        ended = edgekd(*arguments, "--json")
        assert ended.code == code, (ended.out, ended.err)
        assert "error: " not in ended.err
        assert "Traceback" not in ended.err
        return json.loads(ended.out, parse_constant=_no_constants)

    return call


def test_verbs_without_an_artefact(document):
    assert {"machine", "targets", "extras"} <= document(0, "doctor").keys()
    assert "landmarks" in [row["name"] for row in document(0, "list", "recipes")]
    assert {"openvino", "onnxruntime", "torch"} <= {row["name"] for row in document(0, "list", "targets")}
    assert document(0, "config", "show", "landmarks", "--preset", "quick")["student"]["input_size"] == 64


def test_distill(document, tiny_config, tmp_path):
    out = tmp_path / "lm"
    found = document(0, "distill", "landmarks", "--config", tiny_config, "--out", out)
    assert found["run"] == str(out)
    assert found["status"] == "complete"
    assert document(2, "distill", "landmarks", "--config", tiny_config, "--out", out)["error"]["fix"]


def test_export_though_quantizers_like_to_talk(document, tiny_run, tmp_path):
    """Two targets that can, and one whose own profile is wrong: each stands alone."""
    own = tmp_path / "own.toml"
    own.write_text('title = "x"\nprecisions = ["int8"]\n', encoding="utf-8")
    targets = [part for name in (f"onnxruntime/{own}", "onnxruntime", "openvino") for part in ("--target", name)]
    bad, *good = document(2, "export", tiny_run, *targets, "--precision", "int8", "--out", tmp_path / "b")
    assert bad["bundle"] is None
    assert "quantization recipe" in bad["error"]["what"]
    assert [row["error"] for row in good] == [None, None]
    assert [row["manifest"]["precision"] for row in good] == ["int8", "int8"]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_verbs_on_a_bundle(document, tiny_bundles, picture, tmp_path, target):
    bundle = tiny_bundles[target]
    assert {"checks", "placement"} <= document(0, "verify", bundle).keys()
    assert document(0, "inspect", bundle)["manifest"]["target"] == target
    assert document(0, "eval", bundle)["samples"] == 12
    photo = picture(tmp_path / "a.png")
    (found,) = document(0, "predict", bundle, photo, "--out", tmp_path / "o.png")
    assert len(found["prediction"]["landmarks"]) == 68


def test_onnx_run_and_report(document, tiny_bundles, tiny_run, tmp_path):
    assert document(0, "inspect", tiny_bundles["onnxruntime"] / "model.onnx")["onnx"]["macs"] > 0
    assert document(0, "eval", tiny_run, "--threads", "1")["target"] == "torch"
    assert document(0, "report", tiny_run, *tiny_bundles.values(), "--out", tmp_path / "r.html")["bundles"] == 2


def test_bench_gives_figures_and_failures_in_one_document(benched):
    (measured,) = benched.document["measurements"]
    assert measured["artifact"]["target"] == "onnxruntime"
    assert measured["path"] == str(next(benched.folder.iterdir()))
    assert [f["error"]["code"] for f in benched.document["failures"]] == [2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["distill", "landmrks", "--out", "x"],
        ["export", "none", "--target", "openvino"],
        ["verify", "none"],
        ["inspect", "none"],
        ["eval", "none"],
        ["predict", "none", "x.png"],
        ["report", "none"],
        ["config", "show", "none"],
        ["list", "none"],
        ["bench"],
        ["none"],
        ["doctor", "--none"],
    ],
)
def test_failure_of_any_verb_is_a_document_too(document, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    error = document(2, *arguments)["error"]
    assert error["code"] == 2
    assert error["what"]
    assert error["why"] or error["fix"]


def test_interrupt_is_a_document_too(document, tiny_bundles, monkeypatch):
    from edgekd.bundle import verify

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", stop)
    assert document(130, "verify", tiny_bundles["onnxruntime"])["error"]["code"] == 130


def test_bug_of_ours_is_exit_1_and_a_document_with_the_way_to_report_it(document, tiny_bundles, monkeypatch):
    from edgekd.bundle import verify

    def broken(*arguments):
        raise KeyError("x")

    monkeypatch.setattr(verify, "verify", broken)
    error = document(1, "verify", tiny_bundles["onnxruntime"])["error"]
    assert "a bug in edgekd" in error["what"]
    assert "--debug" in error["fix"]


def test_figures_that_are_no_numbers_are_null(capsys):
    from edgekd.cli.options import print_json

    print_json({"a": float("nan"), "b": [float("-inf"), 1.5]})
    assert json.loads(capsys.readouterr().out, parse_constant=_no_constants) == {"a": None, "b": [None, 1.5]}


def test_quiet_says_nothing_and_debug_shows_the_traceback(edgekd, tiny_bundles):
    quiet = edgekd("verify", tiny_bundles["onnxruntime"], "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert "Traceback" in edgekd("verify", "none", "--debug").err
