import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.measuring.quality import bootstrap_loss, evaluate, heldout_of, predictions, relative_loss
from edgekd.run import open_run


class Distance:
    """Mean absolute difference: less is better."""

    primary = "error"
    higher_is_better = False
    units = {"error": ""}  # noqa: RUF012

    def compute(self, predictions, truths):
        return {"error": float(np.mean([abs(p["y"] - t["y"]) for p, t in zip(predictions, truths, strict=True)]))}


class Hits(Distance):
    """Share of predictions within one of the truth: more is better."""

    higher_is_better = True

    def compute(self, predictions, truths):
        return {"error": float(np.mean([abs(p["y"] - t["y"]) < 1 for p, t in zip(predictions, truths, strict=True)]))}


def rows(values):
    return [{"y": float(value)} for value in values]


# --- losses


def test_a_loss_is_positive_where_it_got_worse_whichever_way_the_metric_points():
    assert relative_loss(Distance(), 4.0, 5.0) == pytest.approx(0.25)
    assert relative_loss(Distance(), 4.0, 3.0) == pytest.approx(-0.25)
    assert relative_loss(Hits(), 0.8, 0.6) == pytest.approx(0.25)
    assert relative_loss(Hits(), 0.8, 1.0) == pytest.approx(-0.25)


def test_a_loss_is_a_share_of_the_size_of_what_was_there():
    assert relative_loss(Hits(), -0.5, -0.6) == pytest.approx(0.2)  # R2 below zero


def test_a_loss_from_nothing_is_none_or_infinite():
    assert relative_loss(Distance(), 0.0, 0.0) == 0
    assert relative_loss(Distance(), 0.0, 0.1) == np.inf
    assert relative_loss(Hits(), 0.0, 0.1) == -np.inf


def test_the_bootstrap_interval_holds_the_loss_and_shrinks_with_more_samples():
    rng = np.random.default_rng(0)

    def interval(n):
        truth = rng.normal(size=n)
        before, after = truth + rng.normal(0, 1, n), truth + rng.normal(0, 1.2, n)
        return bootstrap_loss(Distance(), rows(before), rows(after), rows(truth))

    small, large = interval(30), interval(3000)
    assert small[0] < 0.2 < small[1]
    assert large[0] < 0.2 < large[1]
    assert large[1] - large[0] < (small[1] - small[0]) / 4


def test_the_bootstrap_resamples_in_pairs():
    rng = np.random.default_rng(1)
    truth = np.zeros(40)
    before = rng.exponential(1, 40)
    low, high = bootstrap_loss(Distance(), rows(before), rows(1.1 * before), rows(truth))
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)  # each sample lost a tenth, however they are drawn


def test_the_bootstrap_of_one_seed_is_one_interval():
    truth, before, after = (np.random.default_rng(k).normal(size=20) for k in range(3))
    one, same, other = (bootstrap_loss(Distance(), rows(before), rows(after), rows(truth), seed) for seed in (0, 0, 1))
    assert one == same != other


# --- predictions


def test_each_sample_passes_the_pipeline_alone_and_in_order():
    class Doubling:
        def preprocess(self, raw):
            return {"x": raw["x"][None]}

        def postprocess(self, outputs, raw):
            return {"y": float(outputs["x"][0] - raw["x"])}

    class Twice:
        def run(self, feeds):
            assert feeds["x"].shape == (1,)
            return {"x": 2 * feeds["x"]}

        def reset(self):
            pass

    raws = [{"x": np.float32(value)} for value in (3, 1, 2)]
    assert [p["y"] for p in predictions(Twice(), Doubling(), raws)] == [3, 1, 2]


# --- evaluation


def test_a_run_is_judged_as_its_record_says(tiny_run):
    found, run = evaluate(tiny_run, threads=1), open_run(tiny_run)
    (stage,) = run.record.stages
    assert found.metrics == pytest.approx(stage.test, rel=1e-5)  # the held-out file holds the whole test set
    assert (found.samples, found.target, found.precision) == (12, "torch", "fp32")
    assert found.heldout == run.record.files["heldout.npz"]


def test_bundles_are_judged_on_the_runs_samples(tiny_run, tiny_bundles):
    mine = evaluate(tiny_run, threads=1)
    for target, bundle in tiny_bundles.items():
        found = evaluate(bundle, threads=1)
        assert found.target == target
        assert (found.heldout, found.samples) == (mine.heldout, mine.samples)
        assert found.metrics["nme"] == pytest.approx(mine.metrics["nme"], rel=1e-4)


def test_a_bundle_is_not_judged_on_another_runs_samples(tiny_run, tiny_bundles, copy_of):
    from edgekd.bundle.open import open as open_bundle
    from edgekd.storage import read_arrays, write_arrays

    other = copy_of(tiny_run)
    bundle = open_bundle(tiny_bundles["onnxruntime"])
    assert len(heldout_of(bundle, other)[0]) == 12  # the run may have moved
    arrays = read_arrays(other / "heldout.npz")
    write_arrays(other / "heldout.npz", {name: value[::-1] for name, value in arrays.items()})
    with pytest.raises(InputError, match="is not the data"):
        heldout_of(bundle, other)
    (other / "heldout.npz").unlink()
    with pytest.raises(InputError, match=r"is not at(.|\n)*--run"):
        heldout_of(bundle, other)


# --- metrics that take a network


def test_a_network_adds_metrics_and_is_noted_by_its_content(tiny_run, tmp_path, monkeypatch):
    class Quality:
        UNITS = {"lpips": ""}  # noqa: RUF012

        @staticmethod
        def measure(networks, predictions, truths, progress):
            progress("LPIPS", 1.0)
            assert len(predictions) == len(truths) == 12
            return {"lpips": len(networks["vgg16"].read_text())}

    monkeypatch.setattr("edgekd.measuring.quality.optional_part", lambda recipe, part: Quality)
    (tmp_path / "vgg16.pth").write_text("weights")
    told = []
    network = {"vgg16": tmp_path / "vgg16.pth"}
    found = evaluate(tiny_run, None, 1, network, progress=lambda what, share: told.append(what))
    assert found.metrics["lpips"] == 7
    assert "nme" in found.metrics
    assert len(found.networks["vgg16"]) == 64
    assert told == ["LPIPS"]
    with pytest.raises(InputError, match="is not a file"):
        evaluate(tiny_run, None, 1, {"vgg16": tmp_path / "nowhere.pth"})


def test_a_recipe_without_such_metrics_refuses_a_network(tiny_run, tmp_path):
    with pytest.raises(InputError, match="no metric of landmarks takes a network"):
        evaluate(tiny_run, None, 1, {"vgg16": tmp_path / "vgg16.pth"})
