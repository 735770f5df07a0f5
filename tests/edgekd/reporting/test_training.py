from __future__ import annotations

import json

import pytest

from edgekd.errors import InputError
from edgekd.reporting.collect import collect
from edgekd.reporting.scale import scales
from edgekd.reporting.training import read_curves, training_section


def section(*folders):
    found = collect(list(folders))
    return training_section(found.runs, scales(found))


def test_curves_count_epochs_from_one_in_the_order_of_rows(make_run):
    curves = read_curves(make_run() / "stages/student/metrics.csv")
    assert curves["val/nme"] == ([1, 2], [12.0, 9.0])
    assert set(curves) == {"train/main", "train/tough", "train/loss", "val/nme"}


@pytest.mark.parametrize("row", ["0,1,a,many", "0", "zero,1,a,1"])
def test_a_damaged_csv_is_named(tmp_path, row):
    file = tmp_path / "metrics.csv"
    file.write_text(f"epoch,step,name,value\n{row}\n")
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        read_curves(file)


def test_student_control_teacher_and_terms_are_shown(make_run):
    shown = section(make_run())
    for text in ("teacher: tough", ">control<", ">student<", ">main<", ">sum<", "Validation nme; lower is better."):
        assert text in shown, text
    # nme fell from 10 to 8: a gain of 20 %, and of one seed only
    assert "+20.0\u202f%" in shown
    assert "at least three" in shown


def test_runs_that_differ_in_their_seed_alone_give_mean_and_deviation(make_run):
    one = make_run("one")
    record = json.loads((one / "run.json").read_text())
    control = {**record["stages"][2], "best": {"nme": 16.0}, "last": {"nme": 16.0}}
    config = {**record["config"], "seed": 1}
    other = make_run("other", record={"config": config, "seed": 1, "stages": [*record["stages"][:2], control]})
    # gains of 20 % and 50 %
    assert "+35.0\u202f% ± 21.21 at the best epoch" in section(one, other)


def test_an_unfinished_run_shows_what_it_has(make_run):
    shown = section(make_run(status="training"))
    assert "training is not finished" in shown
    assert "Validation nme" in shown


def test_names_of_terms_are_text(make_run):
    shown = section(make_run(csv="epoch,step,name,value\n0,1,train/<script>$x,1\n0,1,val/nme,3\n"))
    assert "<script" not in shown
