"""Picture files of every kind that Pillow writes, sound and broken, and a few that it would not write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

# What each format takes.
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"),
    "PPM": ("1", "L", "RGB", "I"),
    "WEBP": ("RGB", "RGBA"),
}
SIZES = st.sampled_from([(1, 1), (1, 7), (300, 1), (5, 3), (16, 16)])


@st.composite
def images(draw: st.DrawFn, mode: str) -> Image.Image:
    width, height = draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    if mode in ("I", "F", "I;16"):
        kind = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
        values = rng.integers(0, draw(st.sampled_from([2, 256, 60000])), (height, width)).astype(kind)
        if mode == "F" and draw(st.booleans()):
            values.ravel()[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1e30]))
        return Image.fromarray(values)
    pixels = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "LAB":
        return Image.frombytes("LAB", (width, height), pixels.tobytes())
    return pixels.convert(mode)


@st.composite
def sound(draw: st.DrawFn) -> bytes:
    """A whole file; its EXIF may turn it, say nonsense, or be broken."""
    kind = draw(st.sampled_from(sorted(MODES)))
    image = draw(images(draw(st.sampled_from(MODES[kind]))))
    options: dict[str, Any] = {}
    if kind in ("PNG", "JPEG", "WEBP") and draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535]))
        content = bytearray(exif.tobytes())
        if draw(st.booleans()):
            content[draw(st.integers(6, len(content) - 1))] = draw(st.integers(0, 255))
        options["exif"] = bytes(content)
    if image.mode == "P" and kind in ("PNG", "GIF") and draw(st.booleans()):
        options["transparency"] = 0
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, rows: bytes = b"", color: int = 2, bits: int = 8) -> bytes:
    """A PNG that says ``width`` x ``height`` and holds ``rows``."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Their readers start other programs or open other files.
OTHER_FORMATS = {
    "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(canary) (w) file closefile\nshowpage\n%%EOF\n",
    "a.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hostname"/></svg>',
    "a.fli": b"\x00" * 4 + b"\x11\xaf" + b"\x00" * 200,
}
