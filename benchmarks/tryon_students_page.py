"""The page, the figures and the verdicts of ``tryon_students.py``, from its results alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

HELD_FPS = 40.0  # the paper's, on a T4


def fastest_lossless(results: dict[str, Any]) -> tuple[str | None, list[str]]:
    """The students that hold the paper's rate with one graph, fastest first, and the first that loses nothing."""
    cost, students = results["cost"]["ways"]["one graph"], results["students"]
    fast = sorted((n for n in students if 1000 / cost[n]["median_ms"] >= HELD_FPS), key=lambda n: cost[n]["median_ms"])
    paper = students["paper"]
    lossless = [
        name
        for name in fast
        if students[name]["ssim"] >= paper["ssim"] and students[name]["warp_error_px"] <= paper["warp_error_px"]
    ]
    return (lossless[0] if lossless else None), fast


def front(results: dict[str, Any], metric: str, higher: bool) -> set[str]:
    """The students that no other one beats in both time and ``metric``."""
    cost, students = results["cost"]["ways"]["one graph"], results["students"]
    sign = 1 if higher else -1

    def beaten(name: str) -> bool:
        return any(
            cost[o]["median_ms"] < cost[name]["median_ms"]
            and sign * students[o][metric] >= sign * students[name][metric]
            for o in students
            if o != name
        )

    return {name for name in students if not beaten(name)}


def gains(results: dict[str, Any], metric: str) -> tuple[list[float], list[float], float, float]:
    own = [pair["student"][metric] for pair in results["seeds"]]
    control = [pair["control"][metric] for pair in results["seeds"]]
    differences = np.array(own) - np.array(control)
    return own, control, float(differences.mean()), float(differences.std(ddof=1))


def section(results: dict[str, Any]) -> str:
    """This benchmark's part of benchmarks/README.md."""
    c, cost = results["conditions"], results["cost"]
    one, frame = cost["ways"]["one graph"], cost["ways"]["frame"]
    on_front = front(results, "ssim", True) | front(results, "warp_error_px", False)
    lines = [
        "## `python benchmarks/tryon_students.py`: try-on students shaped for two CPU cores",
        "",
        f"One teacher, the same steps for every student; scored on {_held(c)} unseen drawn people at "
        f"{c['trained_at'][0]}x{c['trained_at'][1]}, where the truth is known; timed at "
        f"{c['timed_at'][0]}x{c['timed_at'][1]} in OpenVINO fp32 with the default profile's lowerings, in turns. "
        "**Bold**: no other student is both faster and better in SSIM, or in warp error.",
        "",
        "| student | SSIM | masked L1 % | warp error px | M parameters | MB | GMAC | one graph ms | frame graph ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = sorted(results["students"], key=lambda n: -one[n]["median_ms"])
    for name in order:
        row, paid = results["students"][name], cost["students"][name]
        shown = f"**{name}**" if name in on_front else name
        lines.append(
            f"| {shown} | {row['ssim']:.4f} | {row['masked_l1']:.2f} | {row['warp_error_px']:.2f} | "
            f"{paid['parameters'] / 1e6:.2f} | {paid['megabytes']:.1f} | {paid['gmacs']:.1f} | "
            f"{one[name]['median_ms']:.1f} | {frame[name]['median_ms']:.1f} |"
        )
    rows = {"the teacher": results["teacher"], **results["baselines"]}
    for name, row in rows.items():
        lines.append(
            f"| *{name}* | {row['ssim']:.4f} | {row['masked_l1']:.2f} | {row['warp_error_px']:.2f} | | | | | |"
        )
    lossless, fast = fastest_lossless(results)
    lines += [
        "",
        _verdict(results, lossless, fast),
        "",
        "The steps are few and the same for all, so the table says what is learnt soonest, not what is best at last: "
        "the largest student has come the shortest way, and every one of them is still below its teacher.",
        "",
    ]
    lines += [
        f"What distillation gains ({c['seeds_of']}, {len(c['seeds'])} seeds, each beside a control that sees the same "
        "pictures and has the same losses but for the teacher's maps and flows):",
        "",
        "| metric | distilled | control | gain |",
        "|---|---|---|---|",
    ]
    for metric, unit in (("ssim", ""), ("masked_l1", " %"), ("warp_error_px", " px")):
        own, control, mean, std = gains(results, metric)
        better = mean > 0 if metric == "ssim" else mean < 0
        word = ("better" if better else "worse") if abs(mean) > std else "within the spread"
        lines.append(
            f"| {metric}{unit} | {np.mean(own):.4f} ± {np.std(own, ddof=1):.4f} | "
            f"{np.mean(control):.4f} ± {np.std(control, ddof=1):.4f} | {mean:+.4f} ± {std:.4f}, {word} |"
        )
    stated = ", ".join(f"{name} {value}" for name, value in c["versions"].items())
    note = f" {c['note']}" if c.get("note") else ""
    lines += [
        "",
        f"Settings: {', '.join(c['settings'])}; the teacher: {', '.join(c['teacher_settings'])}. Seeds 1 and 2 learn "
        f"from the first seed's teacher, on people of their own. {c['machine_title']}; {stated}. "
        f"{results['created'][:10]}.{note}",
        "",
        "![SSIM and warp error of every student against its time](results/tryon_students.png)",
        "",
        "![The same unseen people in every student's try-on](results/tryon_people.png)",
        "",
    ]
    return "\n".join(lines)


def _held(conditions: dict[str, Any]) -> str:
    return next(s.partition("=")[2] for s in conditions["settings"] if s.startswith("data.test="))


def _verdict(results: dict[str, Any], lossless: str | None, fast: list[str]) -> str:
    one = results["cost"]["ways"]["one graph"]
    if not fast:
        best = min(one, key=lambda name: one[name]["median_ms"])
        rate = 1000 / one[best]["median_ms"]
        return f"None holds {HELD_FPS:g} frames per second with one graph here: {best} reaches {rate:.0f} (**missed**)."
    held = ", ".join(f"{name} ({1000 / one[name]['median_ms']:.0f})" for name in fast)
    told = f"{HELD_FPS:g} frames per second with one graph are held by {held}."
    if lossless is None:
        return told + " None of them is as good as the paper's student in both SSIM and warp error (**missed**)."
    return told + f" {lossless} is as good as the paper's student in SSIM and in warp error, at this budget."


def draw(results: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from edgekd.storage import whole_file

    one, students = results["cost"]["ways"]["one graph"], results["students"]
    figure, axes = pyplot.subplots(1, 2, figsize=(12.5, 5))
    for axis, (metric, title, higher) in zip(
        axes,
        (("ssim", "SSIM (higher is better)", True), ("warp_error_px", "warp error, px (lower is better)", False)),
        strict=True,
    ):
        on_front = front(results, metric, higher)
        for number, name in enumerate(students, start=1):
            x, y = one[name]["median_ms"], students[name][metric]
            color = "#1b7837" if name in on_front else "#888888"
            axis.scatter(x, y, s=12 * results["cost"]["students"][name]["megabytes"] + 20, color=color, alpha=0.75)
            axis.annotate(str(number), (x, y), xytext=(7, 4), textcoords="offset points", fontsize=9)
        axis.plot(
            *zip(*sorted((one[n]["median_ms"], students[n][metric]) for n in on_front), strict=True), "#1b7837", lw=1
        )
        axis.axhline(results["teacher"][metric], color="#b35806", ls="--", lw=1, label="teacher")
        axis.axvline(1000 / HELD_FPS, color="#2166ac", ls=":", lw=1, label=f"{HELD_FPS:g} frames per second")
        axis.set_xscale("log")
        ticks = [8, 16, 25, 50, 100, 200, 400]
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        axis.set_xlabel("one graph at 256x192, ms (OpenVINO fp32, two cores)")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    told = "   ".join(f"{n} {name}" for n, name in enumerate(students, start=1))
    half = told.find("   ", len(told) // 2)
    figure.text(0.01, 0.01, told[:half] + "\n" + told[half:].strip(), fontsize=7.5)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    with whole_file(folder / "tryon_students.png") as temporary:
        figure.savefig(temporary, dpi=130)
    pyplot.close(figure)
