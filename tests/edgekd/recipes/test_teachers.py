import importlib.util
import sys

import pytest
import torch
from torch import nn

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError, MachineError
from edgekd.recipes.teachers import network_teacher
from edgekd.recipes.weights import save_weights

IO = IoSpec(
    inputs=(TensorSpec(name="image", shape=(1, 3, 32, 32)),), outputs=(TensorSpec(name="logits", shape=(1, 7)),)
)
CODE = """\
import numpy as np
from torch import nn

class Class(nn.Linear):
    def __init__(self):
        super().__init__(4, 7)

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 7), nn.Dropout(0.5))

module = nn.Linear(4, 7)

def box(image):
    return np.full((len(image), 7), 2.0, np.float32)

def make_box():
    return box

def make_nothing():
    return 3

number = 3
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    (tmp_path / "teachers_of_this_test.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("teachers_of_this_test", None)


@pytest.mark.parametrize("name", ["Class", "make", "module", "box", "make_box"])
def test_a_named_module_its_maker_and_a_black_box_teach_in_eval_without_gradient(theirs, name):
    teacher, provenance = network_teacher(f"teachers_of_this_test:{name}", IO)
    x = torch.ones(2, 4, requires_grad=True)
    first = teacher(x)
    assert first.shape == (2, 7)
    assert torch.equal(first, teacher(x)), "dropout is on"
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert len(provenance["sha256"]) == 64
    if "box" in name:
        assert first.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("teachers_of_this_test:absent", "has no attribute"),
        ("no_such_module_here:make", "No module named"),
        ("teachers_of_this_test:number", "is not callable"),
        ("teachers_of_this_test:make_nothing", "it made a int"),
        ("resnet18", "package.module:callable or timm:NAME@FILE"),
        ("timm:resnet18", r"downloads nothing(.|\n)*--teacher timm:resnet18@FILE.safetensors"),
        ("timm:resnet18@absent.safetensors", r"no file absent.safetensors(.|\n)*create_model\(\"resnet18\""),
    ],
)
def test_a_name_that_is_no_teacher_is_refused_with_the_way_to_one(theirs, spec, said):
    with pytest.raises(InputError, match=said):
        network_teacher(spec, IO)


def test_without_timm_the_error_says_what_to_install(tmp_path, monkeypatch):
    save_weights(nn.Linear(1, 1), tmp_path / "w.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match=r"timm cannot be imported(.|\n)*pip install timm torchvision"):
        network_teacher(f"timm:resnet18@{tmp_path / 'w.safetensors'}", IO)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed (it needs torchvision)")
def test_a_timm_network_teaches_with_the_weights_of_a_file_and_no_others(tmp_path):
    import timm

    theirs = timm.create_model("resnet18", num_classes=7).eval()
    save_weights(theirs, tmp_path / "w.safetensors")
    teacher, provenance = network_teacher(f"timm:resnet18@{tmp_path / 'w.safetensors'}", IO)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(teacher(x), theirs(x))
    assert provenance["teacher"] == "timm:resnet18"
    with pytest.raises(InputError, match=r"no model 'resnet19'(.|\n)*resnet18"):
        network_teacher(f"timm:resnet19@{tmp_path / 'w.safetensors'}", IO)
    with pytest.raises(InputError, match="another model's weights"):
        network_teacher(f"timm:resnet34@{tmp_path / 'w.safetensors'}", IO)
