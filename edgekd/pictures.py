"""Pictures from a file, a folder or a video, as uint8 RGB. Videos need PyAV (extra ``video``)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgekd.errors import EdgekdError, InputError, MachineError

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Of Pillow's many formats those of the suffixes; among the others is one whose reader starts a program (EPS).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 100_000_000  # 10,000 x 10,000: some 1.5 GB while it is decoded and made RGB
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


# Containers that hold their own frames; a playlist would have other files, or addresses, opened.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts"
_OWN_FILE_ONLY = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
_ORIENTATION = 0x0112  # EXIF's tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SUPPORT = 3  # px that Pillow's widest filter (Lanczos) reaches, times the reduction
LARGEST_CROP = 8  # a crop may be this many times as long as its picture; beyond, the box is a mistake


def is_video(path: Path) -> bool:
    """Whether the name says video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def existing(path: Path) -> Path:
    """``path``, if there is anything.

    Raises:
        InputError: there is nothing at that path.
    """
    try:
        found = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None
    if not found:
        raise InputError(f"{path} does not exist", "no such file or folder", "check the spelling of the path")
    return path


def read_picture(path: Path, *, as_stored: bool = False) -> Picture:
    """One picture, upright by its EXIF orientation; any mode becomes RGB, alpha is laid over white.

    Args:
        as_stored: not turned upright, where annotations speak of the pixels as they are stored.

    Raises:
        InputError: missing, not a picture, broken off, or too large to be decoded safely.
    """
    return np.array(_read(path, as_stored, _as_rgb), dtype=np.uint8)


def read_cutout(path: Path) -> tuple[Picture, NDArray[np.uint8] | None]:
    """One picture as ``read_picture`` gives it, and its alpha (H, W) uint8; None where it has none.

    Raises:
        InputError: as ``read_picture``.
    """
    image = _read(path, False, lambda found: found)
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    alpha = np.array(image.convert("RGBA").getchannel("A"), dtype=np.uint8) if has_alpha else None
    return np.array(_as_rgb(image), dtype=np.uint8), alpha


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A picture whose pixels are numbers (a segmentation, a mask), (H, W) uint8, as stored; a palette is not looked up.

    Raises:
        InputError: as ``read_picture``, or it has several channels.
    """
    image = _read(path, True, lambda found: found)
    if image.mode not in ("L", "P", "1"):
        raise InputError(
            f"{path} is no map of labels", f"it is {image.mode}, with a colour per pixel", "8 bits, one channel"
        )
    return np.asarray(image if image.mode != "1" else image.convert("L"), dtype=np.uint8)


def _read(path: Path, as_stored: bool, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    existing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file that can be read all the same
            with Image.open(path, formats=FORMATS) as image:
                if not 0 < image.width * image.height <= MOST_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} px, at most {MOST_PIXELS:,}")
                image.load()
                return convert(image if as_stored else _upright(image))
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not a picture",
            "its content has no picture format that Pillow knows",
            "give a JPEG or PNG",
        ) from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large", str(error), "scale it down first") from None
    except Exception as error:  # each of Pillow's decoders has its own for a broken file
        raise InputError(
            f"{path} cannot be read", str(error) or type(error).__name__, "is the file complete?"
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(int(image.getexif().get(_ORIENTATION, 1)))
    except Exception:  # notes that are broken are no reason to refuse pixels that are whole
        turn = None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more; convert("RGB") would clip them to white
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=65535.0, neginf=0.0)
        top = 65535.0 if values.max() > 255 else 255.0
        image = Image.fromarray(np.clip(values * (255.0 / top), 0, 255).round().astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, layer)
    return image.convert("RGB")


def folder_pictures(folder: Path) -> list[Path]:
    """Every picture below ``folder``, by suffix, sorted by path; hidden files and other files are left out.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    existing(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "it is a file", "give the folder that holds the pictures")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        others = sum(1 for path in folder.rglob("*") if path.is_file())
        raise InputError(
            f"no picture in {folder}",
            f"of its {others} files none ends in {', '.join(sorted(PICTURE_SUFFIXES))}",
            "give a folder with pictures",
        )
    return found


def video_frames(path: Path) -> Iterator[tuple[Picture, float]]:
    """Frames of a video one at a time, upright, each with the share (0..1) of the video read so far.

    The share is 0 where the file does not say how long it is.

    Raises:
        InputError: missing, no video stream, or not decodable.
        MachineError: PyAV is not installed.
    """
    existing(path)
    try:
        import av
    except ImportError:
        raise MachineError(
            "videos cannot be read here", "PyAV is not installed", 'pip install "edgekd[video]"'
        ) from None
    count = 0
    try:
        with av.open(str(path), options=_OWN_FILE_ONLY) as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no video", "it has no video stream", "give a video file")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            total = stream.frames or (
                float(stream.duration * stream.time_base * stream.average_rate)
                if stream.duration and stream.time_base and stream.average_rate
                else 0.0
            )
            for frame in container.decode(stream):
                count += 1
                picture = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90) % 4  # phones store turned frames
                yield (
                    np.ascontiguousarray(np.rot90(picture, turns)),
                    min(1.0, count / total) if total else 0.0,
                )
    except EdgekdError:
        raise
    except Exception as error:  # PyAV's own, and Python's for what a broken header says
        why = f"{getattr(error, 'strerror', None) or error} after {count} frames"
        raise InputError(f"{path} cannot be decoded", why, "is the file complete?") from None
    if not count:
        raise InputError(f"{path} holds no frame", "its video stream is empty", "give a video file")


def video_rate(path: Path) -> Fraction:
    """Frames per second of a video that ``video_frames`` can read; 25 where the file does not say."""
    import av

    with av.open(str(path), options=_OWN_FILE_ONLY) as container:
        rate = container.streams.video[0].average_rate
    return Fraction(rate) if rate else Fraction(25)


def pictures_at(path: Path) -> Iterator[tuple[str, Picture]]:
    """(label, picture) of a picture, of every one in a folder, or of a video's frames, decoded while they are read.

    Raises:
        InputError, MachineError: at once for the path itself, when reached for what a folder or video holds.
    """
    existing(path)
    if path.is_dir():
        files = folder_pictures(path)
        return ((file.relative_to(path).as_posix(), read_picture(file)) for file in files)
    if is_video(path):
        frames = video_frames(path)
        first = next(frames)  # what is wrong with the file is said now, not at the first item
        return ((f"{path.name} frame {k}", picture) for k, (picture, _) in enumerate(chain([first], frames)))
    return iter([(path.name, read_picture(path))])


def parse_box(text: str) -> NDArray[np.float32]:
    """``x0,y0,x1,y1`` in px. Raises InputError for anything else."""
    try:
        values = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        values = np.empty(0, np.float32)
    if values.shape != (4,):
        raise InputError(f"box={text} is not a box", "it must be four numbers", "give box=x0,y0,x1,y1 in pixels")
    return values


def crop(picture: Picture, box: NDArray, size: tuple[int, int], resampler: str) -> Picture:
    """The box of a picture, resized anisotropically; outside of the picture its edge is repeated.

    Args:
        picture: (H, W, 3) uint8, or a mask (H, W).
        box: (4,) x0, y0, x1, y1 in px.
        size: (width, height) of the result.
        resampler: one of Pillow's, as in ``ImageSpec``; antialiased where it reduces.

    Raises:
        InputError: the box is empty, no number, far larger than the picture, or does not touch it.
    """
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = check_box(box, width, height)
    # Only what the filter can reach is cut out, so that a small face in a large photo costs little.
    reach_x = math.ceil(SUPPORT * max(1.0, (x1 - x0) / size[0])) + 1
    reach_y = math.ceil(SUPPORT * max(1.0, (y1 - y0) / size[1])) + 1
    # A side that stays inside ends at the picture's edge, as in Pillow's own resize; the others are padded.
    left, right = math.floor(x0) - reach_x, math.ceil(x1) + reach_x
    top, bottom = math.floor(y0) - reach_y, math.ceil(y1) + reach_y
    left, right = left if x0 < 0 else max(left, 0), right if x1 > width else min(right, width)
    top, bottom = top if y0 < 0 else max(top, 0), bottom if y1 > height else min(bottom, height)
    part = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    pads = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))[: part.ndim]
    if any(p for pair in pads for p in pair):
        part = np.pad(part, pads, mode="edge")
    inner = (x0 - left, y0 - top, x1 - left, y1 - top)
    return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(size, FILTERS[resampler], box=inner))


def check_box(box: NDArray, width: int, height: int) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1, where a picture of that size can be cropped so.

    Raises:
        InputError: as ``crop``.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    shown = f"box {x0:g},{y0:g},{x1:g},{y1:g}"
    fix = "give box=x0,y0,x1,y1 in pixels of the picture"
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 - x0 < 1 or y1 - y0 < 1:
        raise InputError(f"{shown} is empty", "x1 must be right of x0, y1 below y0", fix)
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise InputError(f"{shown} lies outside of the picture", f"the picture is {width}x{height} px", fix)
    if max(x1 - x0, y1 - y0) > LARGEST_CROP * max(width, height):
        raise InputError(f"{shown} is far larger than the picture", f"the picture is {width}x{height} px", fix)
    return x0, y0, x1, y1
