"""A training step of edgekd beside the same step in a bare PyTorch loop.

    python benchmarks/training_overhead.py

The landmark student at two sizes: the quick preset's, alone, and MobileNetV2 1.0 at 112 with both its teachers. Both
ways have the same networks, batches (drawn faces, augmented on the fly), loss, optimizer, schedule, precision,
channels-last layout and threads. edgekd's is a whole ``fit``: Lightning's Trainer, loader, module, callbacks; an
epoch's scoring and checkpoint, which a bare loop would need too, lie outside the clock. Blocks of steps take turns in
one process: edgekd pauses in a callback while the bare loop runs. Writes results/training_overhead.json, raw samples
included. Minutes on two cores; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGET = 1.10
STEPS = 10**6  # that both are told they will take; they are stopped when enough was measured
BLOCK = 4  # steps; one of edgekd's, one of the bare loop's, in turns
FACES = 128  # in 8 augmented copies each, so that an epoch has enough steps
CASES: dict[str, tuple[str, ...]] = {
    "quick preset, no teachers": ("teacher.use=none",),
    "MobileNetV2 1.0 at 112, two teachers": (
        *("student.width=1.0", "student.input_size=112", "train.batch_size=32"),
        *("teacher.use=both", "teacher.width=0.5", "teacher.depth=0.5"),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "training_overhead.json")
    parser.add_argument("--blocks", type=int, default=40, help="of each way, after two that warm up")
    parser.add_argument("--quick", action="store_true", help="a few blocks of the small one, to try it; writes nothing")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch

    from edgekd.measuring.machine import busy_share, read_facts
    from edgekd.storage import write_text

    torch.set_num_threads(options.threads)
    blocks = 4 if options.quick else options.blocks
    busy = busy_share(1.0)
    rows = []
    for name, settings in list(CASES.items())[: 1 if options.quick else None]:
        rows.append({"name": name, **measured(settings, blocks)})
        print(
            f"{name}: {rows[-1]['ratio'][0]:.3f} [{rows[-1]['ratio'][1]:.3f}, {rows[-1]['ratio'][2]:.3f}]", flush=True
        )
    facts = read_facts()
    results = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": {
            "machine": facts.model_dump(mode="json"),
            "machine_title": facts.title,
            "threads": options.threads,
            "busy_share_before": busy,
            "steps_per_block": BLOCK,
            "versions": versions(),
        },
        "target": TARGET,
        "rows": rows,
    }
    print(section(results))
    if not options.quick:
        write_text(options.out, json.dumps(results, indent=1) + "\n")
    return 0


def measured(settings: tuple[str, ...], blocks: int) -> dict[str, Any]:
    """Both ways' durations per block, in nanoseconds, and the ratio of edgekd's to the bare one's."""
    import numpy as np

    from edgekd import config as configuration
    from edgekd.measuring.statistics import paired_ratio
    from edgekd.recipes.landmarks.recipe import Recipe

    fixed = [f"data.train={FACES}", "augment.factor=8", "data.val=4", "data.test=4", "train.precision=fp32"]
    config = configuration.resolve("landmarks", "quick", settings=[*fixed, *settings])
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(config)
        data = recipe.datasets(Path(folder), lambda what, share: None)
        ours, bare = (next(s for s in recipe.stages(data, False) if s.role == "student") for _ in range(2))
        loop = bare_loop(bare, data.train, config.seed)
        durations = edgekd_blocks(ours, data, recipe, config, Path(folder), loop, blocks)
    taken = {name: [np.array(block) for block in values] for name, values in durations.items()}
    ratio = paired_ratio(taken["edgekd"], taken["bare"], 0)
    per_step = {
        name: float(np.median([block.sum() for block in values])) / BLOCK / 1e6 for name, values in taken.items()
    }
    return {
        "settings": list(settings),
        "batch": config.train.batch_size,
        "ms_per_step": per_step,
        "ratio": [ratio.value, ratio.low, ratio.high],
        "blocks_ns": {name: [block.tolist() for block in values] for name, values in taken.items()},
    }


def bare_loop(stage: Any, samples: Any, seed: int) -> Iterator[None]:
    """The loop that a user would write, one step at a time."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Faces(Dataset):
        def __len__(self) -> int:
            return len(samples)

        def __getitems__(self, indices: list[int]) -> Any:
            return samples.batch([(epoch, index) for index in indices])

    for teacher in stage.frozen.values():
        teacher.eval().requires_grad_(False)
    stage.model.train().to(memory_format=torch.channels_last)
    optimizer = stage.optimizer(stage.model.parameters())
    schedule = stage.schedule(optimizer, STEPS)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        Faces(), stage.batch_size, shuffle=True, drop_last=True, collate_fn=lambda batch: batch, generator=order
    )
    epoch, seen = 0, 0.0
    while True:
        for batch in loader:
            optimizer.zero_grad()
            loss = torch.stack(list(stage.step(batch).values())).sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen += loss.item()  # to be printed once per epoch
            yield
        epoch += 1


def edgekd_blocks(
    stage: Any, data: Any, recipe: Any, config: Any, folder: Path, loop: Iterator[None], blocks: int
) -> dict[str, list[list[int]]]:
    """``fit`` of the stage; after each of its blocks, told by its own progress, one of the bare loop's."""
    from edgekd.recipes.landmarks import metrics, pipeline
    from edgekd.training.fit import fit
    from edgekd.training.judge import Judge

    class EnoughError(Exception):
        pass

    for teacher in stage.frozen.values():
        teacher.eval().requires_grad_(False)
    durations: dict[str, list[list[int]]] = {"edgekd": [], "bare": []}
    mark, own, epoch, turn = time.perf_counter_ns(), list[int](), "", 0

    def tell(what: str, share: float) -> None:
        """After every step of edgekd's. The first of an epoch has scoring and a checkpoint before it: not counted."""
        nonlocal mark, own, epoch, turn
        took, now = time.perf_counter_ns() - mark, what.partition(",")[0]
        if now == epoch:
            own.append(took)
        epoch = now
        if len(own) == BLOCK:
            other = []
            for _ in range(BLOCK):
                begun = time.perf_counter_ns()
                next(loop)
                other.append(time.perf_counter_ns() - begun)
            if turn >= 2:
                durations["edgekd"].append(own)
                durations["bare"].append(other)
            turn, own = turn + 1, []
            if len(durations["bare"]) == blocks:
                raise EnoughError
        mark = time.perf_counter_ns()

    io = recipe.io_spec()
    judge = Judge(io, pipeline.Pipeline(io), metrics.METRICS)
    stage.epochs = STEPS
    try:
        fit(stage, data, judge, folder / "stage", config, {}, tell)
    except EnoughError:
        return durations
    raise AssertionError("the training ended before the measurement")


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "pytorch-lightning", "numpy")}


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    conditions = results["conditions"]
    lines = [
        "## `python benchmarks/training_overhead.py`: what training with edgekd costs beside a bare PyTorch loop",
        "",
        f"| student | batch | edgekd, ms a step | bare loop | times as long | asked: at most {results['target']:.2f} |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        value, low, high = row["ratio"]
        mark = "reached" if value <= results["target"] else "**missed**"
        ours, bare = (row["ms_per_step"][name] for name in ("edgekd", "bare"))
        ratio = f"{value:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {row['name']} | {row['batch']} | {ours:.1f} | {bare:.1f} | {ratio} | {mark} |")
    stated = ", ".join(f"{name} {value}" for name, value in conditions["versions"].items())
    lines += [
        "",
        f"Measured {results['created'][:10]} on {conditions['machine_title']}; {conditions['threads']} threads, fp32, "
        f"blocks of {conditions['steps_per_block']} steps in turns within one process, 95 % intervals. {stated}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
