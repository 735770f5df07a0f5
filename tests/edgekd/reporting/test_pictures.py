from __future__ import annotations

import base64
import io
import re
import shutil

from PIL import Image

from edgekd.errors import MachineError
from edgekd.reporting import pictures
from edgekd.reporting.collect import collect
from edgekd.reporting.pictures import SAMPLES, chosen, errors_of, gather, pictures_section


def test_the_bundle_is_asked_in_its_own_runtime_beside_the_student_as_trained(project):
    (group,), reasons = gather(collect())
    assert reasons == []
    assert [row.name for row in group.rows] == ["lm", "lm-onnxruntime"]
    student, bundle = group.rows
    # the model says the first sample's face whatever it is shown
    assert len(bundle.predicted) == 8
    assert abs(bundle.predicted[5]["landmarks"] - student.predicted[0]["landmarks"]).max() < 1e-3


def test_samples_are_shown_from_the_best_to_the_worst(project):
    (group,), _ = gather(collect())
    picked = chosen(group)
    errors = errors_of(group, group.rows[0].predicted)
    assert len(picked) == SAMPLES
    assert list(errors[picked]) == sorted(errors[picked])
    assert (picked[0], picked[-1]) == (1, 4)  # off by 0.01 and by 0.08


def test_pictures_are_jpegs_inside_the_page_and_the_curve_is_drawn(project):
    section, reasons = pictures_section(collect())
    assert reasons == []
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', section)
    assert len(found) == 2 * SAMPLES
    assert max(Image.open(io.BytesIO(base64.b64decode(found[0]))).size) <= pictures.LONGER_SIDE
    assert "Cumulative error distribution" in section


def test_a_strip_is_of_samples_that_follow_each_other(project, monkeypatch):
    from edgekd.recipes.landmarks.pipeline import Pipeline

    (group,), _ = gather(collect())
    first = {raw["image"].tobytes(): k for k, raw in enumerate(group.raws)}
    asked = []

    def sheet(self, raws, predictions, references=None):
        assert len(raws) == len(predictions) == len(references)
        asked.append([first[raw["image"].tobytes()] for raw in raws])
        return Image.new("RGB", (900, 300))

    monkeypatch.setattr(Pipeline, "sheet", sheet, raising=False)
    monkeypatch.setattr(Pipeline, "sheet_samples", 3, raising=False)
    monkeypatch.setattr(Pipeline, "restarts", lambda self, raw, _: first[raw["image"].tobytes()] == 4, raising=False)
    pictures_section(collect())
    assert len(asked) == 2 * SAMPLES
    for run in asked:
        end = min(run[0] + 3, 4 if run[0] < 4 else len(group.raws))
        assert run == [*range(run[0], end)]


def test_a_pipeline_that_offers_a_sheet_is_shown_by_it(project, monkeypatch):
    from edgekd.recipes.landmarks.pipeline import Pipeline

    asked = []

    def sheet(self, raws, predictions, references=None):
        asked.append((len(raws), references is not None))
        return Image.new("RGB", (1800, 300))

    monkeypatch.setattr(Pipeline, "sheet", sheet, raising=False)
    section, _ = pictures_section(collect())
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', section)
    assert asked == [(1, True)] * 2 * SAMPLES
    assert Image.open(io.BytesIO(base64.b64decode(found[0]))).size == (pictures.SHEET_SIDE, 150)
    assert 'class="pictures sheets"' in section


def test_without_the_runtime_the_reason_stands_where_the_pictures_would(project, monkeypatch):
    def missing(self):
        raise MachineError("onnxruntime is not installed", "", 'pip install "edgekd[onnxruntime]"')

    monkeypatch.setattr("edgekd.bundle.open.Bundle.runtime", property(missing))
    section, reasons = pictures_section(collect())
    assert reasons == ['lm-onnxruntime: onnxruntime is not installed (pip install "edgekd[onnxruntime]")']
    assert "Not drawn: lm-onnxruntime" in section
    assert section.count("<img") == SAMPLES  # the student's, as trained


def test_a_bundle_without_its_run_shows_its_own_vectors_and_says_so(project):
    shutil.rmtree(project / "runs")
    (group,), reasons = gather(collect())
    assert reasons == []
    assert not group.judged
    assert "test vectors" in group.about
    assert errors_of(group, group.rows[0].predicted) is None
    section, _ = pictures_section(collect())
    assert "nme" not in re.sub(r'base64,[^"]+', "", section)  # no figure without a truth


def test_another_run_of_the_same_name_is_not_taken_for_the_bundle_s(project, make_run):
    shutil.rmtree(project / "runs/lm")
    make_run("lm")
    import numpy as np

    from edgekd.storage import read_arrays, write_arrays

    file = project / "runs/lm/heldout.npz"
    write_arrays(file, {k: np.flip(v, axis=0) for k, v in read_arrays(file).items()})
    groups, _ = gather(collect([project / "bundles"]))
    assert not groups[0].judged


def test_a_foreign_model_is_not_drawn_and_the_reason_is_given(make_run, make_bundle):
    section, reasons = pictures_section(collect([make_bundle(make_run(), recipe=None)]))
    assert reasons == ["lm-onnxruntime: it is a foreign model (no recipe draws it)"]
    assert "<img" not in section
