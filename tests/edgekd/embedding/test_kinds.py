"""Kinds of apps are folders; what a bundle cannot become is said with the reason, and with what it can."""

from __future__ import annotations

import pytest

from edgekd.cli.embed import Kind
from edgekd.embedding.kinds import able_targets, kind_of, kinds, served
from edgekd.errors import InputError
from edgekd.registry import recipes, targets


def test_every_folder_of_an_app_belongs_to_a_kind_that_the_command_offers():
    assert set(kinds()) == {kind.value for kind in Kind}
    for entry in (*targets().values(), *recipes().values()):
        found = {folder.name for folder in (entry.folder / "app").glob("*")}
        assert found <= set(kinds()), entry.name


@pytest.mark.parametrize("recipe", ["landmarks", "streaming", "tryon", "hypergraph"])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_every_student_becomes_a_python_and_a_cpp_app(recipe, target):
    assert {"python", "cpp"} <= set(served(recipe, target))


@pytest.mark.parametrize(
    ("kind", "recipe", "target", "parts"),
    [
        ("web", "hypergraph", "onnxruntime", ("hypergraph has no", "--app cpp")),
        (
            "web",
            "landmarks",
            "openvino",
            ("openvino has no web app; onnxruntime has", "export the run for onnxruntime"),
        ),
        ("swift", "landmarks", "openvino", ("coreml has", "--app python")),
        ("python", "landmarks", "tensorrt", ("tensorrt has no python app",)),
        ("python", None, "onnxruntime", ("foreign model", "session.run")),
        ("pyton", "landmarks", "onnxruntime", ('did you mean "python"',)),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_reason_and_the_way_out(kind, recipe, target, parts):
    with pytest.raises(InputError) as refused:
        kind_of(kind, recipe, target)
    assert all(part in str(refused.value) for part in parts), str(refused.value)


def test_the_web_is_for_onnx_runtime_and_swift_for_core_ml():
    assert able_targets("web") == ["onnxruntime"]
    assert able_targets("swift") == ["coreml"]
