"""Kills ``edgekd distill`` with SIGKILL, again and again, resumes it, and compares with a run that nobody killed.

    python tests/edgekd/training/killed.py FOLDER --seed 7 --lives 30     # the longer, more random variant

Every life is a process of its own, forked from one that has imported everything, and killed either by a clock or
by itself in the middle of a write: when half of a file is there, when all of it is but not yet under its name, or
right after the renaming. Prints every life, and the differences at the end; exit 1 where there are any.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd import storage

CONFIG = """\
data = {train = 48, val = 8, test = 12}
student = {input_size = 32, width = 0.25}
teacher = {use = "tough", width = 0.2, depth = 0.2, dropout = 0.3, epochs = 2}
train = {epochs = 3, batch_size = 16, precision = "fp32"}
"""
FILES = ("last.ckpt", "best.safetensors", "metrics.csv", "stage.json", "run.json", "precision.json", "config.toml")
LAST = ("student.safetensors", "heldout.npz", "calibration.npz")
WHEN = ("half", "whole", "renamed")
Moment = tuple[str, str, int]  # (file, when, at its which writing), or ("clock" | "drawing", "", milliseconds)


def fixed_moments(rng: random.Random) -> list[Moment]:
    """One of each kind, in an order that a run can meet."""
    return [
        ("drawing", "", rng.randrange(30)),
        ("run.json", rng.choice(WHEN[:2]), 1),
        ("last.ckpt", "half", rng.choice((1, 2))),
        ("best.safetensors", "renamed", 1),
        ("stage.json", rng.choice(WHEN), 1),
        ("clock", "", rng.randrange(300, 1500)),
        ("last.ckpt", rng.choice(WHEN[1:]), rng.choice((1, 2))),
        (rng.choice(LAST), rng.choice(WHEN), 1),
        ("run.json", "whole", 2),
    ]


def random_moment(rng: random.Random) -> Moment:
    if rng.random() < 0.4:
        return "clock", "", rng.randrange(50, 4000)
    name = rng.choice(FILES + LAST)
    return name, rng.choice(WHEN), rng.choice((1, 2)) if name in ("last.ckpt", "metrics.csv") else 1


def dying_at(moment: Moment) -> None:
    """Makes this process kill itself in the middle of a write."""
    name, when, number = moment
    ours, left = storage.whole_file, number

    @contextmanager
    def whole_file(path: Path) -> Iterator[Path]:
        nonlocal left
        left -= path.name == name
        now = path.name == name and left == 0
        with ours(path) as temporary:
            yield temporary
            if now and when != "renamed":
                if when == "half":
                    os.truncate(temporary, temporary.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    for module in list(sys.modules.values()):
        if getattr(module, "whole_file", None) is ours:
            module.whole_file = whole_file  # type: ignore[attr-defined]


def live(out: Path, config: Path, moment: Moment | None) -> int:
    """One life; -9 where it was killed, else its exit code."""
    from edgekd.cli.main import run as edgekd

    begun = (out / "run.json").is_file()
    options = ["--resume"] if begun else ["--config", str(config)]
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        if moment and moment[0] not in ("clock", "drawing"):
            dying_at(moment)
        code = edgekd(["distill", "landmarks", "--out", str(out), *options, "-q"])
        sys.stdout.flush()
        os._exit(code)
    if moment and moment[0] in ("clock", "drawing"):
        if moment[0] == "drawing":
            wait_until(lambda: any(out.parent.glob("cache/landmarks/.*.partial")))
        time.sleep(moment[2] / 1000)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_until(seen: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not seen() and time.monotonic() < until:
        time.sleep(0.001)


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same in two complete runs, and what should not be there; clocks apart."""
    found = [name for name in (*LAST, "config.toml") if (one / name).read_bytes() != (other / name).read_bytes()]
    stages = [sorted(p.name for p in (run / "stages").iterdir()) for run in (one, other)]
    if stages[0] != stages[1]:
        found.append(f"stages {stages}")
    for stage in stages[0]:
        folders = [run / "stages" / stage for run in (one, other)]
        if curves(folders[0]) != curves(folders[1]):
            found.append(f"{stage}/metrics.csv")
        if len({(folder / "best.safetensors").read_bytes() for folder in folders}) > 1:
            found.append(f"{stage}/best.safetensors")
    found += [f"left over: {path}" for path in sorted(other.parent.rglob(".*"))]
    return found


def curves(stage: Path) -> list[list[str]]:
    with (stage / "metrics.csv").open(newline="") as file:
        return [row for row in csv.reader(file) if row[2] != "images_per_second"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lives", type=int, help="so many random ones, rather than one of each kind")
    options = parser.parse_args()
    import edgekd.training.distill  # noqa: F401 - before the forks, so that a life is short

    options.folder.mkdir(parents=True, exist_ok=True)
    config = options.folder / "tiny.toml"
    config.write_text(CONFIG)
    straight, killed = options.folder / "straight" / "lm", options.folder / "killed" / "lm"
    assert live(straight, config, None) == 0
    rng = random.Random(options.seed)
    moments = fixed_moments(rng) if options.lives is None else [random_moment(rng) for _ in range(options.lives)]
    deaths = 0
    for moment in moments:
        code = live(killed, config, moment)
        print(f"seed {options.seed}, {moment}: {'killed' if code == -9 else f'ended with {code}'}", flush=True)
        deaths += code == -9
        if code not in (-9, 0):
            return 1
        if code == 0:  # before it came to that moment: another run begins
            if found := differences(straight, killed):
                print("; ".join(found))
                return 1
            shutil.rmtree(killed.parent)
    if live(killed, config, None) != 0:
        return 1
    found = differences(straight, killed)
    print(f"{deaths} deaths of {len(moments)}, " + ("; ".join(found) if found else "the same bits"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
