"""Pictures from a file, a folder or a video, as uint8 RGB. Videos need PyAV (extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekd.errors import InputError, MachineError

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


def is_video(path: Path) -> bool:
    """Whether the name says video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def existing(path: Path) -> Path:
    """``path``, if there is anything.

    Raises:
        InputError: there is nothing at that path.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist", "no such file or folder", "check the spelling of the path")
    return path


def read_picture(path: Path, *, as_stored: bool = False) -> Picture:
    """One picture, upright by its EXIF orientation; any mode becomes RGB, alpha is laid over white.

    Args:
        as_stored: not turned upright, where annotations speak of the pixels as they are stored.

    Raises:
        InputError: missing, not a picture, broken off, or too large to be decoded safely.
    """
    existing(path)
    try:
        with Image.open(path) as image:
            upright = image if as_stored else ImageOps.exif_transpose(image)
            return np.array(_as_rgb(upright), dtype=np.uint8)
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not a picture",
            "its content has no picture format that Pillow knows",
            "give a JPEG or PNG",
        ) from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large", str(error), "scale it down first") from None
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow's decoders raise for broken files
        raise InputError(f"{path} cannot be read", str(error), "is the file complete?") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more; convert("RGB") would clip them to white
        values = np.asarray(image, np.float64)
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
        with av.open(str(path)) as container:
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
    except av.FFmpegError as error:
        raise InputError(
            f"{path} cannot be decoded",
            f"{error.strerror or error} after {count} frames",
            "is the file complete?",
        ) from None
    if not count:
        raise InputError(f"{path} holds no frame", "its video stream is empty", "give a video file")
