"""The command line answers at once, imports little, and explains itself."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import pytest

import edgekd as package
import edgekd_targets
from edgekd.cli.main import VERBS

RUNTIMES = {"torch", "onnxruntime", "openvino", "onnx", "pytorch_lightning", "nncf"}
HEAVY = RUNTIMES | {"scipy", "PIL", "dlib", "matplotlib", "pandas", "skimage", "av", "safetensors"}


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], HEAVY | {"numpy", "pydantic"}),
        (["distill", "--help"], HEAVY | {"numpy"}),
        (["list", "recipes"], HEAVY),
        (["list", "targets"], HEAVY),
        (["config", "show", "landmarks"], HEAVY),
    ],
)
def test_answers_that_need_no_runtime_import_none(python, arguments, unwanted):
    code = (
        "import json, sys\nfrom edgekd.cli.main import run\n"
        "code = run(sys.argv[1:])\nprint(json.dumps([code, sorted(sys.modules)]))"
    )
    done = python("-c", code, *arguments)
    ended, modules = json.loads(done.stdout.splitlines()[-1])
    assert ended == 0
    assert not unwanted & set(modules)


def test_python_m_edgekd_is_the_command(python):
    done = python("-m", "edgekd", "--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert done.stderr == ""
    bad = python("-m", "edgekd", "verfy")
    assert bad.returncode == 2
    assert "verify" in bad.stderr


def test_output_that_the_terminal_cannot_show_costs_nothing(python, tiny_bundles, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = python("-m", "edgekd", "inspect", tiny_bundles["onnxruntime"])
    assert done.returncode == 0, done.stderr
    assert "student" in done.stdout


def test_no_arguments_are_a_question_for_help(edgekd):
    ended = edgekd()
    assert ended.code == 0
    assert "Usage" in ended.out


@pytest.mark.parametrize("verb", [*VERBS, "config show"])
def test_every_verb_has_help_with_an_example_and_the_common_options(edgekd, verb):
    ended = edgekd(*verb.split(), "--help")
    assert ended.code == 0
    assert ended.err == ""
    assert f"edgekd {verb}" in " ".join(ended.out.partition("Example")[2].split())
    assert all(option in ended.out for option in ("--json", "--quiet", "--verbose", "--debug"))


def test_doctor_tells_what_runs_here(edgekd):
    ended = edgekd("doctor")
    assert ended.code == 0
    assert all(target in ended.out for target in ("onnxruntime", "openvino", "torch"))


def _modules():
    for root in (package, edgekd_targets):
        for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize("name", _modules())
def test_every_module_imports(name):
    assert importlib.import_module(name) is sys.modules[name]
