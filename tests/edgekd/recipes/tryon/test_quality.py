import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgekd.errors import InputError
from edgekd.nn.vgg import VGG16
from edgekd.recipes.tryon.quality import LINEAR_LAYERS, Lpips, frechet_distance, load_lpips, measure

RNG = np.random.default_rng(0)


def quiet(what, share):
    pass


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """Random weights in the published file's form: torchvision's names, the classifier too (cut short)."""
    path, before, index = tmp_path_factory.mktemp("vgg") / "vgg16.pth", 3, 0
    state = {}
    generator = torch.Generator().manual_seed(0)
    for number, block in enumerate(VGG16):
        index += number > 0  # the pooling
        for channels in block:
            shape = (channels, before, 3, 3)
            state[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (2 / before / 9) ** 0.5
            state[f"features.{index}.bias"] = torch.randn(channels, generator=generator) * 0.05
            index, before = index + 2, channels
    state["classifier.0.weight"], state["classifier.0.bias"] = torch.zeros(8, 16), torch.zeros(8)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def lpips(vgg16):
    return load_lpips(vgg16)


def pictures(count=2, seed=0):
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_published_linear_layers_are_read_from_the_package(lpips):
    weights = [layer.weight for layer in lpips.linear]
    assert [tuple(w.shape) for w in weights] == [(1, c, 1, 1) for c in (64, 128, 256, 512, 512)]
    assert all((w >= 0).all() for w in weights)  # a distance has no negative weights
    assert float(weights[0].sum()) > 0.1


def test_torchvisions_layer_numbers_are_kept(vgg16, lpips):
    state = torch.load(vgg16, weights_only=True)
    own = lpips.vgg.state_dict()
    assert set(own) == {name for name in state if name.startswith("features")}
    assert torch.equal(own["features.28.weight"], state["features.28.weight"])


def test_a_picture_is_at_no_distance_of_itself_and_distances_are_symmetric(lpips):
    one, other = pictures(seed=1), pictures(seed=2)
    assert lpips(one, one).abs().max() == 0
    assert torch.allclose(lpips(one, other), lpips(other, one))
    assert (lpips(one, other) > 0).all()
    near = one + 0.02 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    assert (lpips(one, near) < lpips(one, other)).all()


def test_lpips_is_the_published_formula(lpips):
    one, other = pictures(1, 1), pictures(1, 2)
    shift, scale = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])
    total = 0.0
    maps = []
    for picture in (one, other):
        scaled = (picture.numpy() - shift[:, None, None]) / scale[:, None, None]
        maps.append([m.numpy()[0] for m in lpips.vgg(torch.from_numpy(scaled.astype(np.float32)))])
    assert [m.shape for m in maps[0]] == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    for a, b, layer in zip(*maps, lpips.linear, strict=True):
        a, b = (m / (np.sqrt((m**2).sum(0)) + 1e-10) for m in (a, b))
        total += float(((a - b) ** 2 * layer.weight[0].numpy()).sum(0).mean())
    assert float(lpips(one, other)) == pytest.approx(total, rel=1e-4)


def test_weights_of_another_network_are_refused(vgg16, tmp_path):
    torch.save({"features.0.weight": torch.zeros(7, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(InputError):
        load_lpips(tmp_path / "other.pth")
    with pytest.raises(InputError):
        load_lpips(vgg16, LINEAR_LAYERS.replace("vgg", "alex"))


def test_a_frechet_distance_of_equal_sets_is_nothing():
    features = RNG.normal(size=(200, 16)) @ RNG.normal(size=(16, 16))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    few = RNG.normal(size=(5, 16))  # a covariance without full rank
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_a_frechet_distance_of_normal_distributions_is_the_closed_form():
    """Of two normal distributions with diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    mean, one, other = np.array([1.0, -2.0, 0.5]), np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 3.0])
    a = RNG.normal(size=(200_000, 3)) * one
    b = RNG.normal(size=(200_000, 3)) * other + mean
    expected = (mean**2).sum() + ((one - other) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_a_frechet_distance_with_full_covariances_is_scipys():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = RNG.normal(size=(100, 8)) @ RNG.normal(size=(8, 8)), RNG.normal(size=(90, 8)) @ RNG.normal(size=(8, 8))
    first, second, apart = np.cov(a, rowvar=False), np.cov(b, rowvar=False), a.mean(0) - b.mean(0)
    expected = apart @ apart + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("one", "other"), [((1, 4), (9, 4)), ((9, 4), (9, 5))])
def test_too_few_or_other_features_have_no_distance(one, other):
    with pytest.raises(ValueError, match="have no Frechet distance"):
        frechet_distance(np.zeros(one), np.zeros(other))


@pytest.fixture
def inception(tmp_path):
    """A network in the asked-for form, of any size: each channel's mean."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 1, 1])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "fid", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "inception.onnx")
    return tmp_path / "inception.onnx"


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return [{"tryon": rng.integers(0, 256, (32, 24, 3), dtype=np.uint8)} for _ in range(count)]


def test_what_is_measured_follows_from_the_networks_named(vgg16, inception):
    one, other = rows(4, 0), rows(4, 1)
    found = measure({"vgg16": vgg16, "inception": inception}, one, other, quiet)
    assert set(found) == {"lpips", "fid"}
    assert min(found.values()) > 0
    same = measure({"vgg16": vgg16, "inception": inception}, one, one, quiet)
    assert same == pytest.approx({"lpips": 0, "fid": 0}, abs=1e-9)
    means = [np.stack([r["tryon"].mean((0, 1)) / 255 for r in own]) for own in (one, other)]
    assert found["fid"] == pytest.approx(frechet_distance(*means), rel=1e-4)


def test_networks_that_cannot_be_used_are_named(vgg16, inception, tmp_path):
    (tmp_path / "no.onnx").write_text("no")
    for networks, what in (
        ({"vgg": vgg16}, "there is no network 'vgg'"),
        ({"lpips": vgg16}, "lpips needs vgg16"),
        ({"inception": tmp_path / "no.onnx"}, "is no FID network"),
    ):
        with pytest.raises(InputError, match=what):
            measure(networks, rows(2, 0), rows(2, 1), quiet)
    with pytest.raises(InputError, match="FID cannot be taken"):
        measure({"inception": inception}, rows(1, 0), rows(1, 1), quiet)
