import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd import config as configuration
from edgekd.errors import InputError
from edgekd.nn.sparse import SparseRows
from edgekd.recipes.hypergraph.data import Hyperedges, datasets
from edgekd.recipes.hypergraph.sources import from_npz, load
from edgekd.recipes.hypergraph.splits import split

# Where the two co-citation files lie: not part of the project.
REAL = Path(os.environ.get("EDGEKD_HYPERGRAPH_DATA", Path(__file__).parents[5] / "shared" / "data" / "hypergraph"))


def test_a_random_split_has_so_many_of_each_class_and_the_rest_judges(tiny):
    config = tiny()
    data = load(config)
    parts = split(data, config.data, 0)
    assert np.bincount(data.labels[parts.train]).tolist() == [5] * 3
    assert np.bincount(data.labels[parts.val]).tolist() == [10] * 3
    whole = np.concatenate([parts.train, parts.val, parts.test])
    assert sorted(whole) == list(range(240))
    assert not np.array_equal(parts.train, split(data, config.data, 1).train)


def test_fewer_labelled_vertices_than_asked_for_are_refused_by_class(tiny):
    config = tiny(data={"train_per_class": 100, "val_per_class": 100})
    with pytest.raises(InputError, match=r"class 0 has \d+ labelled vertices") as caught:
        split(load(config), config.data, 0)
    assert "train_per_class" in caught.value.fix


def test_vertices_without_a_label_never_train_select_or_judge(npz, tiny):
    config = tiny(data={"train_per_class": 1, "val_per_class": 1})
    data = from_npz(npz())
    parts = split(data, config.data, 0)
    assert 5 not in np.concatenate([parts.train, parts.val, parts.test])
    assert len(datasets(data, config).train) == 6, "but the hypergraph has them"


def test_a_published_split_judges_all_others_and_selects_with_none(npz, tiny):
    data = from_npz(npz(train_splits=np.array([[0, 1], [2, 3]])))
    parts = split(data, tiny(data={"split": "published", "fold": 1}).data, 0)
    assert (parts.train.tolist(), parts.val.tolist(), parts.test.tolist()) == ([2, 3], [], [0, 1, 4])
    with pytest.raises(InputError, match="no fold 2"):
        split(data, tiny(data={"split": "published", "fold": 2}).data, 0)
    with pytest.raises(InputError, match="no published split"):
        split(from_npz(npz()), tiny(data={"split": "published"}).data, 0)


def test_training_sees_every_vertex_and_the_labels_of_few(tiny):
    sets = datasets(load(tiny()), tiny())
    batch = sets.train.batch([(0, index) for index in range(240)])
    assert batch["x"].shape == (240, 12)
    assert int((batch["label"] >= 0).sum()) == len(sets.train.labelled()) == 15


def test_a_batch_is_a_function_of_its_keys_and_not_of_their_order(tiny):
    train = datasets(load(tiny()), tiny()).train
    one, other = train.batch([(0, 7), (0, 3)]), train.batch([(4, 3), (4, 7)])
    assert one["index"].tolist() == [3, 7]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_sets_fingerprints_follow_features_hyperedges_and_labels(npz, tiny, arrays):
    config = tiny(data={"train_per_class": 1, "val_per_class": 1})

    def fingerprint(**changed):
        return datasets(from_npz(npz(**changed)), config).train.fingerprint

    seen = {
        fingerprint(),
        fingerprint(x=arrays["x"] + 1),
        fingerprint(labels=np.array([0, 1, 0, 1, 0, 0])[::-1].copy()),
        fingerprint(hyperedge_vertices=np.array([0, 1, 2, 2, 4])),
    }
    assert len(seen) == 4
    assert fingerprint() in seen


def test_in_production_the_unseen_vertices_are_nowhere_in_training(tiny):
    config = tiny(data={"setting": "production", "unseen": 0.25})
    data = load(config)
    parts, sets = split(data, config.data, 0), datasets(data, config)
    view = sets.train.parts[0].view
    assert len(sets.train) == len(view) == view.graph.vertex_count == 240 - len(parts.unseen)
    hidden = {row.tobytes() for row in data.features.values[parts.unseen]}
    assert not hidden & {row.tobytes() for row in view.features.values}
    settings = [int(sets.test.sample(i).truth["setting"]) for i in range(len(sets.test))]
    seen = len(parts.test) - len(parts.unseen)
    assert np.bincount(settings).tolist() == [seen, len(parts.unseen), seen]
    for index in (0, seen, seen + len(parts.unseen)):
        vertex = [parts.test[~np.isin(parts.test, parts.unseen)], parts.unseen][settings[index] == 1][0]
        assert np.array_equal(sets.test.sample(index).raw["features"], data.features.values[vertex])


def test_calibration_leaves_out_rows_that_a_test_vertex_has_too(npz, tiny, arrays):
    config = tiny(data={"train_per_class": 1, "val_per_class": 1})
    twin = from_npz(npz(x=np.concatenate([arrays["x"][:5], arrays["x"][:1]]), labels=np.array([0, 1, 0, 1, 0, 0])))
    for seed in range(20):
        sets = datasets(twin, config.model_copy(update={"seed": seed}))
        rows = [sets.calibration.sample(i).raw["features"].tobytes() for i in range(len(sets.calibration))]
        judged = {sets.test.sample(i).raw["features"].tobytes() for i in range(len(sets.test))}
        assert not judged & set(rows)


def test_hyperedges_of_a_part_of_the_vertices_hold_those_alone(tiny):
    view = datasets(load(tiny()), tiny()).train.parts[0].view
    index = torch.arange(0, 240, 3)
    members, chosen = Hyperedges(view).drawn(index)
    graph, found = view.graph, {}
    for row in range(len(members)):
        own = members.columns[members.offsets[row] : members.offsets[row + 1]]
        found[row] = sorted(index[own].tolist())
    wanted = [sorted(v for v in graph.members[a:b] if v % 3 == 0) for a, b in pairwise(graph.offsets)]
    assert list(found.values()) == [edge for edge in wanted if edge]
    assert bool(chosen.all()), "all are reliable before reliability is known"
    whole, _ = Hyperedges(view).drawn(torch.arange(240))
    assert whole.columns.tolist() == graph.members.tolist()


def test_hyperedges_are_drawn_by_their_reliability(tiny):
    hyperedges = Hyperedges(datasets(load(tiny()), tiny()).train.parts[0].view)
    hyperedges.reliability[::2] = 0
    hyperedges.reliability[1::2] = 0.5
    torch.manual_seed(0)
    drawn = torch.stack([hyperedges.drawn(torch.arange(240))[1] for _ in range(50)]).float().mean(0)
    assert not drawn[::2].any()
    assert drawn[1::2].mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.skipif(not REAL.is_dir(), reason="the co-citation sets are no part of the project: EDGEKD_HYPERGRAPH_DATA")
@pytest.mark.parametrize(("name", "shape"), [("cora", (2708, 1433, 7)), ("citeseer", (3312, 3703, 6))])
def test_the_real_sets_are_read_whole(name, shape):
    data = from_npz(REAL / f"cocitation_{name}.npz")
    assert (len(data.features), data.features.width, len(data.classes)) == shape
    assert len(data.splits) == 10
    assert isinstance(datasets(data, configuration.resolve("hypergraph")).train.inputs, SparseRows)
