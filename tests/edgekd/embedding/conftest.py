"""A tiny bundle of each of the four students for each target that runs here, made when one is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SETTINGS = {
    "hypergraph": (
        'data.source=["generated"]',
        "data.train_per_class=5",
        "data.val_per_class=10",
        "generated.vertices=240",
        "generated.hyperedges=240",
        "generated.features=12",
        "generated.classes=3",
        "data.normalization=l1",
        "teacher.epochs=3",
        "teacher.hidden=8",
        "student.hidden=16",
        "train.epochs=3",
    ),
    "streaming": (
        "data.train=1",
        "data.val=1",
        "data.test=1",
        "data.frames=9",
        "student.input_height=72",
        "student.input_width=104",
        "student.width=0.0625",
        "student.neck_blocks=1",
        "teacher.depth=0.33",
        "teacher.width=0.0625",
        "teacher.neck_blocks=1",
        "teacher.epochs=1",
        "train.epochs=1",
        "train.batch_size=4",
        "train.precision=fp32",
    ),
    "tryon": (
        "height=96",
        "width=64",
        'data.source=["wardrobe:2"]',
        "data.val=1",
        "data.test=2",
        "student.width=0.25",
        "student.generator=0.25",
        "student.pyramid=16",
        "student.head=8",
        "teacher.width=0.125",
        "train.precision=fp32",
        "train.fakes=1",
        *(
            f"train.{stage}={{epochs=1, decay=0, batch_size=1}}"
            for stage in ("teacher_warp", "teacher", "student_warp", "student")
        ),
    ),
}
RECIPES = ("landmarks", *SETTINGS)


@pytest.fixture(scope="session")
def bundle_of(tiny_bundles, tmp_path_factory) -> Callable[[str, str], Path]:
    """``bundle_of(recipe, target)``: shared, not to be changed."""
    from edgekd.conversion.export import export
    from edgekd.training.distill import distill

    made: dict[tuple[str, str], Path] = {("landmarks", target): path for target, path in tiny_bundles.items()}

    def bundle(recipe: str, target: str) -> Path:
        if (recipe, target) not in made:
            folder = tmp_path_factory.mktemp(recipe)
            cache = (f"data.cache={(folder / 'cache').as_posix()}",) if recipe != "hypergraph" else ()
            run = distill(recipe, folder / "run", settings=[*SETTINGS[recipe], *cache])
            for result in export(run.path, ("onnxruntime", "openvino"), "fp32", folder / "bundles"):
                if result.error is not None:
                    raise result.error
                assert result.path is not None
                made[recipe, result.target] = result.path
        return made[recipe, target]

    return bundle


@pytest.fixture(scope="session")
def app_of(bundle_of, tmp_path_factory) -> Callable[..., Path]:
    """``app_of(recipe, target, kind)``: an app's folder; shared, not to be changed."""
    from edgekd.embedding.embed import embed

    made: dict[tuple[str, str, str], Path] = {}

    def app(recipe: str, target: str, kind: str) -> Path:
        key = (recipe, target, kind)
        if key not in made:
            made[key] = embed(bundle_of(recipe, target), kind, tmp_path_factory.mktemp("apps") / kind).path
        return made[key]

    return app
