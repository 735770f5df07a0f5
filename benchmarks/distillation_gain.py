"""What distillation gains: the landmark student with tough, tolerant, both and no teachers, in both loss forms.

    python benchmarks/distillation_gain.py

Drawn faces, whose points are exact, so that the test error is the true one. Three training sets: labels with an
annotator's noise, exact labels, and a tenth of the noisy ones (four copies of each, so two fifths of the steps). For
each set and seed the teachers are trained once, then every student with the same start, data order and steps. A
student without teachers is trained on the square (the recipe's ``--control``) and on the absolute error: KD-Loss's
main term is an absolute error near the label, and what that alone gains is no gain of a teacher.

About two hours on two cores; every finished student is kept in benchmarks/work, so the script goes on where it was
interrupted. ``--seeds 0`` trains one seed alone, so that several processes may share the work; the last one to end
writes results/distillation_gain.json. Seconds are not measured, so other work may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
SETTINGS = (
    "student.width=0.35",
    "data.val=100",
    "data.test=300",
    "train.epochs=12",
    "teacher.epochs=12",
    "train.precision=fp32",
)
SETS = {
    "noisy labels": ("data.train=1500", "data.label_noise=0.03", "augment.factor=1"),
    "exact labels": ("data.train=1500", "data.label_noise=0.0", "augment.factor=1"),
    "noisy labels, 10 %": ("data.train=150", "data.label_noise=0.03", "augment.factor=4"),
}
# name -> (teacher.use, loss.form, loss.hard)
STUDENTS = {
    "none, square error": ("none", "paper", "l2"),
    "none, absolute error": ("none", "paper", "l1"),
    "tough, paper": ("tough", "paper", "l2"),
    "tough, released": ("tough", "released", "l2"),
    "tolerant, paper": ("tolerant", "paper", "l2"),
    "tolerant, released": ("tolerant", "released", "l2"),
    "both, paper": ("both", "paper", "l2"),
    "both, released": ("both", "released", "l2"),
}
CONTROLS = ("none, square error", "none, absolute error")
TEACHERS = ("tough", "tolerant")
EPOCHS = ("best", "last")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "gain", help="finished students (not in git)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="which to train now")
    parser.add_argument("--quick", action="store_true", help="a few steps each, to try the script; writes no results")
    options = parser.parse_args()
    settings = [*SETTINGS, *(("train.epochs=1", "teacher.epochs=1", "data.test=20") if options.quick else ())]
    work = options.work.with_name("gain-quick") if options.quick else options.work
    for seed in options.seeds:
        for set_name in SETS:
            train_all(work, set_name, seed, settings)
    if options.quick:
        print(section(gather(work, (0,), settings)))
    elif missing := [seed for seed in SEEDS if not all(place(work, s, seed, "done").exists() for s in SETS)]:
        print(f"results are written once seeds {missing} are trained, too")
    else:
        from edgekd.storage import write_json

        write_json(options.results / "distillation_gain.json", gather(work, SEEDS, settings))
        draw(json.loads((options.results / "distillation_gain.json").read_text()), options.results)
    return 0


def place(work: Path, set_name: str, seed: int, name: str) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in f"{set_name}-{seed}")
    return work / slug / "".join(c if c.isalnum() else "-" for c in name)


def recipe_of(settings: list[str], set_name: str, seed: int, student: str) -> Any:
    from edgekd import config
    from edgekd.registry import recipe_part

    use, form, hard = STUDENTS[student]
    own = [f'teacher.use="{use}"', f'loss.form="{form}"', f'loss.hard="{hard}"', f"seed={seed}"]
    resolved = config.resolve("landmarks", "quick", None, [*settings, *SETS[set_name], *own])
    return recipe_part("landmarks", "recipe").Recipe(resolved)


def train_all(work: Path, set_name: str, seed: int, settings: list[str]) -> None:
    """Teachers once, then every student; what an earlier start finished is kept."""
    from edgekd.recipes.weights import load_weights
    from edgekd.registry import recipe_part
    from edgekd.storage import write_text
    from edgekd.training.judge import Judge

    if place(work, set_name, seed, "done").exists():
        return
    base = recipe_of(settings, set_name, seed, "both, paper")
    datasets = base.datasets(work.parent / "cache", lambda what, share: None)
    io = base.io_spec()
    judge = Judge(io, recipe_part("landmarks", "pipeline").Pipeline(io), recipe_part("landmarks", "metrics").METRICS)
    teachers = {}
    for stage in base.stages(datasets, control=False):
        if stage.role == "teacher":
            folder = place(work, set_name, seed, stage.name)
            train(stage, datasets, judge, folder, base.config)
            teachers[stage.name] = folder / "best.safetensors"
    for student in STUDENTS:
        recipe = recipe_of(settings, set_name, seed, student)
        stages = recipe.stages(datasets, control=False)
        for stage in stages:
            if stage.role == "teacher":
                load_weights(stage.model, teachers[stage.name])
                stage.model.eval().requires_grad_(False)
        train(stages[-1], datasets, judge, place(work, set_name, seed, student), recipe.config)
    write_text(place(work, set_name, seed, "done"), "")


def train(stage: Any, datasets: Any, judge: Any, folder: Path, config: Any) -> None:
    """Fits one stage and scores its best (on the validation set) and its last epoch on the test set."""
    import torch

    from edgekd.recipes.weights import load_weights
    from edgekd.storage import write_json
    from edgekd.training.fit import fit

    if (folder / "scores.json").exists():
        return
    print(f"{folder.parent.name}: {folder.name}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = fit(stage, datasets, judge, folder, config, {}, lambda what, share: None)
    best = judge.score(stage.model, datasets.test)
    state = torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    stage.model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    last = judge.score(stage.model.eval(), datasets.test)
    load_weights(stage.model, folder / "best.safetensors")
    write_json(folder / "scores.json", {"best": best, "last": last, "best_epoch": outcome.best_epoch})


def gather(work: Path, seeds: tuple[int, ...], settings: list[str]) -> dict[str, Any]:
    from importlib.metadata import version

    from edgekd.measuring.machine import read_facts

    sets: dict[str, Any] = {}
    for set_name in SETS:
        names = (*TEACHERS, *STUDENTS)
        sets[set_name] = {
            name: [read_scores(place(work, set_name, seed, name) / "scores.json") for seed in seeds] for name in names
        }
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "conditions": {
            "machine_title": read_facts().title,
            "preset": "quick",
            "settings": list(settings),
            "sets": {name: list(own) for name, own in SETS.items()},
            "seeds": list(seeds),
            "versions": {name: version(name) for name in ("edgekd", "torch", "pytorch-lightning", "numpy")},
        },
        "sets": sets,
    }


def read_scores(path: Path) -> dict[str, Any]:
    from edgekd.storage import read_json

    return dict(read_json(path))


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; the latter is no number for a single one."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def nmes(rows: list[dict[str, Any]], epoch: str) -> list[float]:
    return [row[epoch]["nme"] for row in rows]


def verdict(own: list[float], control: list[float]) -> tuple[float, float, str]:
    """Mean and std of the gain, seed by seed, and whether it is more than a standard deviation.

    The measure is the largest of three: of the gain itself, of the student, and of its control.
    """
    mean, std = spread([c - o for o, c in zip(own, control, strict=True)])
    measure = max(std, spread(own)[1], spread(control)[1])
    word = "gains" if mean > measure else "loses" if mean < -measure else "within the spread"
    return mean, std, word


def shown(mean: float, std: float, sign: str = "") -> str:
    return f"{mean:{sign}.2f} ± {std:.2f}"


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c = results["conditions"]
    seeds = len(c["seeds"])
    lines = [
        "## `python benchmarks/distillation_gain.py`: what the teachers gain",
        "",
        f"NME in % of the outer eye corners' distance on 300 unseen drawn faces with exact points (lower is better), "
        f"mean ± standard deviation over {seeds} seeds. A gain is the control's NME minus the student's, seed by seed; "
        "it *gains* or *loses* where its mean is more than the largest of the standard deviations of gain, student and "
        "control, else it is *within the spread*. KD-Loss without a tolerant teacher has the square error as its main "
        "term, with one it is an absolute error near the label: so there are two controls.",
        "",
    ]
    for set_name, rows in results["sets"].items():
        controls = {name: nmes(rows[name], "best") for name in CONTROLS}
        lines += [
            f"**{set_name[0].upper()}{set_name[1:]}**",
            "",
            "| teachers, loss form | best epoch | last epoch | gain over square error | gain over absolute error |",
            "|---|---|---|---|---|",
        ]
        for name, own in rows.items():
            best, last = (shown(*spread(nmes(own, epoch))) for epoch in EPOCHS)
            if name in TEACHERS:
                lines.append(f"| *the {name} teacher itself* | {best} | {last} | | |")
                continue
            cells = []
            for control, figures in controls.items():
                if name in CONTROLS and (name == control or control == CONTROLS[1]):
                    cells.append("")
                    continue
                mean, std, word = verdict(nmes(own, "best"), figures)
                cells.append(f"{shown(mean, std, '+')}, {word}")
            lines.append(f"| {name} | {best} | {last} | {' | '.join(cells)} |")
        lines.append("")
    lines += [*findings(results), ""]
    stated = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    lines += [
        f"Preset {c['preset']} with {', '.join(c['settings'])}; sets: "
        + "; ".join(f"{name}: {', '.join(own)}" for name, own in c["sets"].items())
        + f". Trained on {c['machine_title']}; {stated}. {results['created'][:10]}.",
        "",
        "![NME of every student, by training set, with its standard deviation](results/distillation_gain.png)",
        "",
    ]
    return "\n".join(lines)


def findings(results: dict[str, Any]) -> list[str]:
    """Where distillation gains, and where it does not, in words made from the figures."""
    lines = []
    for set_name, rows in results["sets"].items():
        words: dict[str, list[str]] = {}
        for name in STUDENTS:
            if name not in CONTROLS:
                best_control = min(CONTROLS, key=lambda c, rows=rows: spread(nmes(rows[c], "best"))[0])
                word = verdict(nmes(rows[name], "best"), nmes(rows[best_control], "best"))[2]
                words.setdefault(word, []).append(name.replace(", ", "/"))
        told = "; ".join(f"{word}: {', '.join(names)}" for word, names in sorted(words.items()))
        ahead = {t: spread(nmes(rows[best_control], "best"))[0] - spread(nmes(rows[t], "best"))[0] for t in TEACHERS}
        lines.append(
            f"- {set_name}, against the better control ({best_control}): {told}. The teachers themselves are "
            + " and ".join(f"{gap:+.2f} ({name})" for name, gap in ahead.items())
            + " ahead of it: what they can teach at this budget."
        )
    return lines


def draw(results: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from edgekd.storage import whole_file

    figure, axes = pyplot.subplots(1, len(results["sets"]), figsize=(12, 4.2), sharey=True)
    for axis, (set_name, rows) in zip(axes, results["sets"].items(), strict=True):
        for position, name in enumerate(STUDENTS):
            values = nmes(rows[name], "best")
            mean, std = spread(values)
            color = "#888888" if name in CONTROLS else "#1b7837" if name.endswith("paper") else "#5aae61"
            axis.barh(position, mean, xerr=std, color=color, height=0.7, error_kw={"elinewidth": 1, "capsize": 3})
            axis.plot(values, [position] * len(values), "k.", markersize=4)
        for name, style in zip(TEACHERS, ("--", ":"), strict=True):
            axis.axvline(spread(nmes(rows[name], "best"))[0], color="#b35806", linestyle=style, label=f"{name} teacher")
        axis.set_title(set_name, fontsize=10)
        axis.set_xlabel("NME on exact points, % (lower is better)")
        axis.set_yticks(range(len(STUDENTS)), list(STUDENTS))
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=8, frameon=False)
    with whole_file(folder / "distillation_gain.png") as temporary:
        figure.savefig(temporary, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
