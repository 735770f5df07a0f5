"""Weights and checkpoints: tensors, or one message; never code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import weights
from strategies.documents import broken
from strategies.outcome import loaded, only_within
from torch import nn

from edgekd.errors import EdgekdError
from edgekd.nn.pretrained import load_in_order
from edgekd.recipes.weights import load_weights, save_weights
from edgekd.reporting.evidence import stored_weights
from edgekd.training.distill import _check_checkpoint


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def every_reader(path, folder):
    """Each that may be given this file; the module is as it was where it was refused."""
    own = module()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    for read in (
        lambda: load_weights(own, path),
        lambda: load_in_order(own, path),
        lambda: stored_weights(path),
        lambda: _check_checkpoint(path, SimpleNamespace(model=own)),
    ):
        result = loaded(read)
        if isinstance(result, EdgekdError):
            assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
        before = {name: value.clone() for name, value in own.state_dict().items()}


@given(data=st.data())
def test_broken_weights_are_read_or_refused(data, folder):
    file = folder / "a.safetensors"
    save_weights(module(), file)
    file.write_bytes(data.draw(broken(file.read_bytes())))
    with only_within(folder):
        every_reader(file, folder)


@given(content=st.one_of(weights.lying(), st.binary(max_size=200), st.just((2**60).to_bytes(8, "little"))))
def test_weights_that_lie_are_refused(content, folder):
    file = folder / "a.safetensors"
    file.write_bytes(content)
    with only_within(folder):
        every_reader(file, folder)


@given(data=st.data())
def test_a_broken_checkpoint_is_read_or_refused(data, folder):
    whole = weights.checkpoint({"state_dict": {f"model.{k}": v for k, v in module().state_dict().items()}})
    file = folder / "a.ckpt"
    file.write_bytes(data.draw(broken(whole)))
    every_reader(file, folder)


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.safetensors"])
def test_code_in_a_checkpoint_is_never_run(folder, name):
    trap = folder / "trap"
    for content in weights.traps(trap).values():
        (folder / name).write_bytes(content)
        for read in (
            lambda: load_weights(module(), folder / name),
            lambda: load_in_order(module(), folder / name),
            lambda: _check_checkpoint(folder / name, SimpleNamespace(model=module())),
        ):
            assert isinstance(loaded(read), EdgekdError)
        assert not trap.exists()


@pytest.mark.parametrize("content", weights.STRANGE, ids=lambda content: str(content)[:30])
def test_a_checkpoint_of_something_else_is_refused(folder, content):
    for name in ("a.pt", "a.ckpt"):
        (folder / name).write_bytes(weights.checkpoint(content))
        every_reader(folder / name, folder)


def test_weights_of_another_type_are_another_models(folder):
    save_weights(module().half(), folder / "a.safetensors")
    error = loaded(lambda: load_weights(module(), folder / "a.safetensors"))
    assert "another model's" in error.what
