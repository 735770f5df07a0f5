"""safetensors files and torch checkpoints: sound, broken, lying, and with code in them."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import torch
from hypothesis import strategies as st

from strategies.outcome import Trap


def safetensors(header: object, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


_OFFSETS = st.sampled_from([[0, 16], [0, 0], [16, 0], [0, 2**63], [-1, 16], [8, 16], [0], "x", None])
_TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(
            ["F32", "F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F4", "C64", "X9", "", 3, None]
        ),
        "shape": st.sampled_from([[4], [2, 2], [], [0], [-1], [2**62, 4], [2**63], ["x"], "x", None]),
        "data_offsets": _OFFSETS,
    }
)


@st.composite
def lying(draw: st.DrawFn) -> bytes:
    """A safetensors header that says something else than what follows."""
    names = st.sampled_from(["a", "b", "layer.weight", "", "__metadata__", "\n"])
    return safetensors(draw(st.dictionaries(names, _TENSOR, max_size=3)), bytes(16))


def checkpoint(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def traps(trap: Path) -> dict[str, bytes]:
    """Every way in which a checkpoint may hold code; run, it would make ``trap``."""
    plain = pickle.dumps({"state_dict": Trap(trap)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/version", "3")
    return {
        "saved": checkpoint({"state_dict": {"a": Trap(trap)}}),
        "pickled": plain,
        "zipped": archive.getvalue(),
        "as keys": checkpoint({Trap(trap): torch.zeros(1)}),
    }


STRANGE = (
    {},
    [],
    3,
    None,
    torch.zeros(2),
    {1: torch.zeros(2)},
    {"a": 3},
    {"state_dict": []},
    {"state_dict": {1: torch.zeros(1)}},
    {"a": torch.zeros(2).to_sparse()},
    {"a": torch.zeros(2, dtype=torch.complex64)},
    {"a": torch.tensor(float("nan"))},
    {"a": torch.zeros(0)},
)
