"""A Swift package is generated here and compiled on a Mac; here its syntax is checked, where a parser is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekd.embedding.embed import embed


@pytest.fixture(scope="module")
def package(tiny_run, tmp_path_factory):
    pytest.importorskip("coremltools", reason="it builds the bundle")
    from edgekd.conversion.export import export

    (result,) = export(tiny_run, ["coreml"], "fp32", tmp_path_factory.mktemp("coreml"))
    if result.error is not None:
        raise result.error
    made = embed(result.path, "swift", tmp_path_factory.mktemp("swift") / "app")
    assert made.verified.startswith("not compiled here")
    return made.path


def test_it_holds_the_model_the_vectors_and_the_manifests_numbers(package):
    config = (package / "Sources/App/Config.swift").read_text(encoding="utf-8")
    (name,) = re.findall(r'file: "(.*)"', config)
    assert (package / "Sources/App/model" / name).exists()
    vectors = package / "Tests/AppTests/vectors"
    samples = int(re.findall(r"samples = (\d+)", config)[0])
    assert len(np.load(vectors / "raw/image.npy")) == samples == len(list((vectors / "results").iterdir()))
    assert 'color: "RGB", resampler: "bilinear", scale: 0.003921' in config


def test_every_file_of_it_is_swift(package):
    tree_sitter = pytest.importorskip("tree_sitter", reason="no parser of Swift is here")
    swift = pytest.importorskip("tree_sitter_swift", reason="no parser of Swift is here")
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))

    def wrong(node):
        own = [node] if node.type == "ERROR" or node.is_missing else []
        return own + [found for child in node.children for found in wrong(child)]

    files = sorted(package.rglob("*.swift"))
    assert len(files) == 8
    for file in files:
        assert [(file.name, node.start_point) for node in wrong(parser.parse(file.read_bytes()).root_node)] == []
