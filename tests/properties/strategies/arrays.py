"""npz and npy files: sound ones, and ones whose headers say something else than what follows."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strategies.outcome import Trap

DTYPES = st.one_of(
    hnp.scalar_dtypes(), hnp.unicode_string_dtypes(max_len=4), hnp.byte_string_dtypes(max_len=4), hnp.array_dtypes()
)
NAMES = st.sampled_from(
    ["raw/image", "raw/box", "truth/x", "student/landmarks", "feeds/image", "a", "", "../canary", "é"]
)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def npz(members: list[tuple[str, bytes]], compress: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def pickled(trap: Path) -> bytes:
    """An array of objects; unpickled, it would make ``trap``."""
    array = np.empty(1, dtype=object)
    array[0] = Trap(trap)
    return npy(array)


def lying_header(shape: str, descr: str) -> bytes:
    """A header that says ``shape`` and ``descr``, and eight bytes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin-1") + bytes(8)


LIES = st.builds(
    lying_header,
    st.sampled_from(
        ["(1000000000000,)", "(-1,)", "(2, -4)", "(99999999999999999999,)", "(2**70,)", "1", "()", "(1,)", "(True,)",
         "(0, 10**30)", "(4294967296, 4294967296)", "('x',)", "(" * 50 + ")" * 50, "__import__('os').getcwd()"]
    ),
    st.sampled_from(["'<f8'", "'|O'", "'<f4'", "'|V8'", "'|S0'", "[('a', '<f4'), ('b', '|O')]", "'<M8[s]'", "3"]),
)  # fmt: skip


@st.composite
def files(draw: st.DrawFn, trap: Path) -> bytes:
    """An npz of sound, lying, pickled and foreign members, by any names, also twice."""
    members = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["sound", "sound", "lie", "pickle", "noise", "bare pickle"]))
        if kind == "sound":
            array = draw(hnp.arrays(draw(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)))
            content = npy(array)
        elif kind == "lie":
            content = draw(LIES)
        elif kind == "pickle":
            content = pickled(trap)
        elif kind == "bare pickle":
            content = pickle.dumps(Trap(trap))
        else:
            content = draw(st.binary(max_size=100))
        members.append((draw(NAMES), content))
    return npz(members)
