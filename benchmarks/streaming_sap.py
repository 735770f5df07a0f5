"""Is streaming sAP right, and what does latency cost? Real boxes, drawn streets, and pycocotools beside ours.

    python benchmarks/streaming_sap.py           # about 2 minutes
    python benchmarks/streaming_sap.py --quick   # some seconds, to try

No network: two forecasters are given the true boxes of every frame that they get to see. ``copy`` says that they stay
where they are; ``velocity`` moves each on at its speed (boxes of one class are followed by their overlap, speeds are
a moving average). Both go through the streaming protocol at constant latencies, and through the offline variant with
and without the authors' evaluator's quirk. Each figure is also taken by pycocotools' COCOeval, from the
same pairs. Real boxes are the two TUD sequences of MOTChallenge, in the motmetrics package; those of the
drawn streets are edgekd's own. Times do not matter: nothing here depends on the machine. Writes
results/streaming_sap.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TUD, TUD_FPS = ("TUD-Campus", "TUD-Stadtmitte"), 25.0
LATENCIES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # in frames
SEED, SIZE = 0, (480, 300)
FORECASTERS = ("copy", "velocity")
FOLLOWED = 0.3  # least overlap of a box with itself one frame seen before
NEWEST = 0.5  # weight of the newest step in a box's speed: hand-drawn boxes jitter
AGREES = 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short streets, to try")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    from edgekd.recipes.streaming.street import VERSION
    from edgekd.storage import write_text

    streets, frames = (2, 20) if options.quick else (12, 90)
    print(f"TUD at {TUD_FPS:g} frames/s; {streets} streets of {frames} frames, {SIZE[0]}x{SIZE[1]} px, seed {SEED}")
    sources = {**{name: tud(name) for name in TUD}, "streets": drawn(streets, frames)}
    found = {name: measured(name, truths) for name, truths in sources.items()}
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "conditions": {
            "streets": streets, "frames": frames, "size": list(SIZE), "seed": SEED, "street_version": VERSION,
            "tud_fps": TUD_FPS, "followed": FOLLOWED, "newest": NEWEST, "latencies_frames": list(LATENCIES),
            "versions": {name: importlib.metadata.version(name) for name in ("numpy", "pycocotools", "motmetrics")},
        },
        "sources": found,
    }  # fmt: skip
    write_text(options.results / "streaming_sap.json", json.dumps(results, indent=1) + "\n")
    print(section(results))
    return 0


def tud_folder() -> Path | None:
    """The data that motmetrics carries; None where it is not installed."""
    spec = importlib.util.find_spec("motmetrics")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return folder if (folder / TUD[0] / "gt.txt").is_file() else None


def tud(name: str) -> list[dict[str, Any]]:
    """One sequence's truths: every box is a person."""
    import numpy as np

    folder = tud_folder()
    if folder is None:
        raise SystemExit('the TUD sequences are in motmetrics: pip install --no-deps "motmetrics==1.4.0"')
    rows = np.loadtxt(folder / name / "gt.txt", delimiter=",")
    boxes = []
    for frame in range(int(rows[:, 0].min()), int(rows[:, 0].max()) + 1):
        x, y, w, h = rows[rows[:, 0] == frame, 2:6].T
        boxes.append(np.stack([np.zeros_like(x), x, y, x + w, y + h], axis=1))
    return truths_of(boxes, 0, TUD_FPS)


def drawn(streets: int, frames: int) -> list[dict[str, Any]]:
    from edgekd.recipes.streaming.street import drive

    found: list[dict[str, Any]] = []
    for number in range(streets):
        found += truths_of([boxes for _, boxes in drive(SEED, number, frames, SIZE)], number, 30.0)
    return found


def truths_of(boxes: Sequence[Any], sequence: int, fps: float) -> list[dict[str, Any]]:
    """Truths of every frame that has a next one, as the recipe's sets give them."""
    import numpy as np

    return [
        {
            "current": now, "boxes": after, "sequence": np.asarray(sequence), "frame": np.asarray(frame),
            "fps": np.asarray(fps),
        }
        for frame, (now, after) in enumerate(pairwise(boxes))
    ]  # fmt: skip


def measured(name: str, truths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """sAP of both forecasters at every latency and offline, ours and pycocotools'."""
    from edgekd.recipes.streaming.clock import offline, streaming
    from edgekd.recipes.streaming.metrics import METRICS

    step = METRICS.step_ms(truths)
    schedules = {f"{frames:g}": streaming(truths, [frames * step]) for frames in LATENCIES}
    schedules |= {"offline": offline(truths, authors=False), "offline, authors'": offline(truths, authors=True)}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    apart = 0.0
    for forecaster in FORECASTERS:
        figures[forecaster] = {}
        for at, schedule in schedules.items():
            said = [*forecasts(forecaster, schedule.seen, truths)]
            ours = METRICS.streamed(schedule, said, truths)
            theirs = by_pycocotools(schedule.pairs, said, truths)
            apart = max(apart, *(abs(ours[key] - value) for key, value in theirs.items() if key in ours))
            figures[forecaster][at] = ours
            print(f"{name:16} {forecaster:9} {at:18} sAP {ours['sap']:6.2f}  pycocotools {theirs['sap']:6.2f}")
    return {"frames": len(truths) + 1, "step_ms": step, "figures": figures, "apart_from_pycocotools": apart}


def forecasts(
    forecaster: str, seen: Sequence[Sequence[int]], truths: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What a forecaster says of the next frame, from the true boxes of the frames that it sees."""
    import numpy as np

    for run in seen:
        before, boxes, speeds = 0, np.empty((0, 5)), np.empty((0, 4))
        for k in run:
            now = np.asarray(truths[k]["current"], np.float64)
            later = now.copy()
            if forecaster == "velocity":
                speeds = followed(now, boxes, speeds, k - before)
                later[:, 1:] += speeds
            before, boxes = k, now
            yield {"boxes": later, "scores": np.ones(len(later))}


def followed(now: Any, before: Any, speeds: Any, frames: int) -> Any:
    """(n, 4) speeds of boxes in px per frame, given those seen ``frames`` before and their speeds; new ones stand."""
    import numpy as np

    from edgekd.recipes.streaming.average_precision import overlaps

    found = np.zeros((len(now), 4))
    if not len(now) or not len(before):
        return found
    iou = np.where(now[:, :1] == before[:, 0], overlaps(now[:, 1:], before[:, 1:]), 0.0)
    free = np.ones(len(before), bool)
    for k in np.argsort(-iou.max(axis=1), kind="stable"):
        own = int(np.argmax(np.where(free, iou[k], 0.0)))
        if free[own] and iou[k, own] >= FOLLOWED:
            free[own] = False
            found[k] = speeds[own] + NEWEST * ((now[k, 1:] - before[own, 1:]) / frames - speeds[own])
    return found


def by_pycocotools(
    pairs: Sequence[tuple[int, bool, int]], said: Sequence[Mapping[str, Any]], truths: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The six figures from COCOeval; those that COCO cannot give are left out."""
    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    true, given = [], []
    for picture, (sample, is_next, position) in enumerate(pairs, start=1):
        for kind, x0, y0, x1, y1 in np.asarray(truths[sample]["boxes" if is_next else "current"], float).tolist():
            if kind >= 0:
                box, area = [x0, y0, x1 - x0, y1 - y0], (x1 - x0) * (y1 - y0)
                true.append({"id": len(true) + 1, "image_id": picture, "category_id": int(kind), "bbox": box,
                             "area": area, "iscrowd": 0})  # fmt: skip
        if position >= 0:
            own = said[position]
            for (kind, x0, y0, x1, y1), score in zip(
                np.asarray(own["boxes"], float).tolist(), own["scores"], strict=True
            ):
                box = [x0, y0, x1 - x0, y1 - y0]
                given.append({"image_id": picture, "category_id": int(kind), "bbox": box, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO()
        kinds = sorted({row["category_id"] for row in true})
        whole.dataset = {
            "images": [{"id": k} for k in range(1, len(pairs) + 1)],
            "annotations": true,
            "categories": [{"id": kind, "name": str(kind)} for kind in kinds],
        }
        whole.createIndex()
        judge = COCOeval(whole, whole.loadRes([row for row in given if row["category_id"] in kinds]), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    names = ("sap", "sap50", "sap75", "sap_small", "sap_medium", "sap_large")
    return {name: 100.0 * float(v) for name, v in zip(names, judge.stats[:6], strict=True) if v >= 0}


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    quick = " (a quick try, no result)" if results["quick"] else ""
    c = results["conditions"]
    columns = [f"{frames:g}" for frames in c["latencies_frames"]] + ["offline", "offline, authors'"]
    lines = [
        f"## `python benchmarks/streaming_sap.py`: what it shows{quick}",
        "",
        "What latency costs, in frames from taking a frame to its boxes, where the detector itself is perfect: sAP of "
        "true boxes that are said to stay (`copy`) or to move on as they did (`velocity`).",
        "",
        "| boxes | forecast | " + " | ".join(columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for name, source in results["sources"].items():
        for forecaster, figures in source["figures"].items():
            values = " | ".join(f"{figures[at]['sap']:.1f}" for at in columns)
            lines.append(f"| {name} ({source['frames']} frames) | {forecaster} | {values} |")
    worst = max(source["apart_from_pycocotools"] for source in results["sources"].values())
    held = "" if worst <= AGREES else " **missed**"
    lines += ["", "| target | value |", "|---|---|", f"| ours equals pycocotools to {AGREES:g} | {worst:.1g}{held} |"]
    for name, source in results["sources"].items():
        copy, velocity = (source["figures"][f]["1"]["sap"] for f in FORECASTERS)
        verdict = "" if velocity > copy else " **missed**"
        lines.append(f"| {name}: `velocity` beats `copy` at one frame | {velocity:.1f} against {copy:.1f}{verdict} |")
        for forecaster in FORECASTERS:
            falling = [source["figures"][forecaster][f"{k:g}"]["sap"] for k in (1.0, 2.0, 3.0, 4.0, 5.0)]
            verdict = "" if all(a > b for a, b in pairwise(falling)) else " **missed**"
            shown = ", ".join(f"{value:.1f}" for value in falling)
            lines.append(f"| {name}: `{forecaster}` falls with every frame of latency | {shown}{verdict} |")
    stated = ", ".join(f"{name} {version}" for name, version in c["versions"].items())
    lines += [
        "",
        "Streaming protocol: a frame is compared with the newest output that is ready at its time, frames that come "
        "while the detector is busy are never seen, before the first output there is nothing. Offline: the forecast "
        "from each frame is compared with the next one; the authors' evaluator also drops what the first frame of a "
        "sequence gave. TUD-Campus and TUD-Stadtmitte are real people, annotated by hand (MOTChallenge 2015); "
        f"{c['streets']} streets of {c['frames']} frames are drawn at {c['size'][0]}x{c['size'][1]}, seed {c['seed']}. "
        f"{results['created'][:10]}; {stated}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
