"""``predict``: a bundle on a picture, a folder, a video or a table, drawn or written down where asked."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle.live import Held
from edgekd.bundle.open import Bundle
from edgekd.bundle.open import open as open_bundle
from edgekd.bundle.sequences import InOrder
from edgekd.contracts import Array, Arrays
from edgekd.errors import InputError
from edgekd.pictures import is_video
from edgekd.storage import read_arrays, refuse_existing, whole_file, write_arrays

Progress = Callable[[str, float], None]
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
OVERLAY = re.compile(r"\d{5,}-.*\.png")  # its name in a folder
TABLE = ".csv"
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")


def predict(
    path: str | Path,
    inputs: Sequence[str],
    out: str | Path | None = None,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """One ``{"input": label, "prediction": {...}}`` per item that the inputs hold.

    Items follow each other: state is carried where there is any. A video goes through the bundle's live graph, where
    it has one, which is prepared once.

    Args:
        inputs: ``NAME=PATH`` each; a bare path is the first input. A bundle of a foreign model takes one npz.
        out: where overlays are drawn: a picture for one item, a video file for frames, a folder for many; a
            ``.csv`` takes the predictions themselves, a row per item; for a foreign model an npz of its outputs.

    Raises:
        InputError: unknown names, unreadable input, an output that exists or does not suit.
    """
    bundle = open_bundle(path, threads)
    target = Path(out) if out is not None else None
    if target is not None:
        _check_output(target, inputs, overwrite)
    if bundle.manifest.recipe is None:
        return _predict_arrays(bundle, inputs, target)
    pipeline = bundle.pipeline
    named = _named(inputs, bundle.manifest.graphs["main"].io.fed[0].name)
    results: list[dict[str, Any]] = []
    moving = bundle.manifest.live and any(is_video(Path(value)) for value in named.values())
    ask = _Prepared(bundle, bundle.manifest.live[0]).predict if moving else bundle.predict

    def pictures() -> Iterator[tuple[str, Any]]:
        for label, raws in _by_picture(pipeline.read(named)):
            if progress:
                progress(f"{label}", 0.0)
            predictions = [ask(raw) for _, raw in raws]
            results.extend({"input": each, "prediction": p} for (each, _), p in zip(raws, predictions, strict=True))
            draws = target is not None and target.suffix.lower() != TABLE
            yield label, pipeline.draw([raw for _, raw in raws], predictions) if draws else None

    if target is None or target.suffix.lower() == TABLE:
        for _ in pictures():
            pass
        if target is not None:
            _write_table(target, results)
    elif target.suffix.lower() in VIDEOS:
        _write_video(target, (drawn for _, drawn in pictures()))
    elif target.suffix.lower() in PICTURES:
        _write_picture(target, pictures())
    elif target.suffix == "":
        _write_folder(target, pictures(), overwrite)
    else:
        raise InputError(
            f"cannot draw to {target}", f"{target.suffix} is no picture, video or table", "--out overlay.png"
        )
    return results


class _Prepared:
    """One frame after another through a live graph, prepared anew only where it is prepared from something else."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self._live = bundle.live(name)
        self._pipeline, self._whole = bundle.pipeline_of(name), bundle.pipeline
        self._in_order = InOrder(Held(self._live), self._pipeline)
        self._feeds: dict[str, Array] = {}

    def predict(self, raw: Arrays) -> dict[str, Any]:
        feeds = self._whole.preprocess(raw)
        wanted = {t.name: feeds[t.name] for t in self._live.prepared_from}
        if not self._feeds or any(not np.array_equal(value, self._feeds[name]) for name, value in wanted.items()):
            self._live.prepare(wanted)
            self._feeds = wanted
        return self._in_order.predict(raw)


def _check_output(path: Path, inputs: Sequence[str], overwrite: bool) -> None:
    """Before anything is read: an overlay never replaces an input, a folder only one of overlays."""
    for text in inputs:
        source = Path(text.rpartition("=")[2])
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"{path} is the input", "it is not replaced by its overlay", "choose another --out")
    if not path.is_dir():
        refuse_existing(path, overwrite)
    elif path.suffix or not all(OVERLAY.fullmatch(file.name) for file in path.iterdir()):
        raise InputError(f"{path} holds more than overlays", "such a folder is never replaced", "choose another --out")
    elif not overwrite:
        raise InputError(f"{path} exists", "existing output is never replaced unasked", "--overwrite replaces it")


def _by_picture(
    items: Iterator[tuple[str, dict[str, Any]]],
) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Consecutive items that share their first array (the picture) belong together: several faces of one photo."""
    group: list[tuple[str, dict[str, Any]]] = []
    for label, raw in items:
        if group and next(iter(raw.values())) is not next(iter(group[0][1].values())):
            yield group[0][0], group
            group = []
        group.append((label, raw))
    if group:
        yield group[0][0], group


def _named(inputs: Sequence[str], first: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        if not equals:
            name, value = first, text
        if name in named:
            raise InputError(
                f"the input {name} is given twice", "a bare PATH is the first input", "NAME=PATH for others"
            )
        named[name] = value
    return named


def _predict_arrays(bundle: Bundle, inputs: Sequence[str], out: Path | None) -> list[dict[str, Any]]:
    if len(inputs) != 1 or not inputs[0].endswith(".npz"):
        raise InputError(f"{bundle.path} is a foreign model", "it takes one .npz with an array per input")
    if out is not None and out.suffix != ".npz":
        raise InputError(f"{bundle.path} is a foreign model", f"it gives arrays, and {out} is no .npz", "--out y.npz")
    outputs: dict[str, Array] = bundle.session.run(read_arrays(Path(inputs[0])))
    if out is not None:
        write_arrays(out, outputs)
    return [{"input": inputs[0], "prediction": outputs}]


def _write_table(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """A row per item: its label, then every value of its prediction, ``NAME`` or ``NAME/INDEX`` each."""
    rows = []
    for result in results:
        cells: dict[str, Any] = {"input": result["input"]}
        for name, value in result["prediction"].items():
            array = np.asarray(value)
            places = [name] if array.ndim == 0 else [f"{name}/{k}" for k in range(array.size)]
            cells.update(zip(places, array.reshape(-1).tolist(), strict=True))
        rows.append(cells)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for cells in rows for name in cells)))
        writer.writeheader()
        writer.writerows(rows)


def _write_picture(path: Path, pictures: Iterator[tuple[str, Any]]) -> None:
    drawn = [picture for _, picture in pictures]
    if len(drawn) != 1:
        raise InputError(
            f"{len(drawn)} pictures do not fit into {path}",
            "it is one picture",
            "--out FOLDER, or --out v.mp4",
        )
    with whole_file(path) as temporary:
        drawn[0].save(temporary)


def _write_folder(path: Path, pictures: Iterator[tuple[str, Any]], overwrite: bool) -> None:
    from edgekd.storage import whole_folder

    with whole_folder(path, overwrite) as temporary:
        for index, (label, drawn) in enumerate(pictures):
            stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in label.partition(" [")[0])
            drawn.save(temporary / f"{index:05d}-{stem}.png")


def _write_video(path: Path, frames: Iterator[Any]) -> None:
    try:
        import av
    except ImportError:
        from edgekd.errors import MachineError

        raise MachineError("PyAV is not installed", "it writes videos", 'pip install "edgekd[video]"') from None
    with whole_file(path) as temporary, av.open(str(temporary), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                size = (frame.width // 2 * 2, frame.height // 2 * 2)  # yuv420 has half as many colours
                stream = container.add_stream("h264", rate=25)
                stream.width, stream.height = size
                stream.pix_fmt = "yuv420p"
            fitted = frame.convert("RGB").resize(size)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(fitted), format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
