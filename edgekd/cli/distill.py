"""``edgekd distill``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, print_table, progress, say
from edgekd.errors import StoppedError


def distill(
    recipe: Annotated[str, typer.Argument(help="a recipe, see `edgekd list recipes`")],
    out: Annotated[Path, typer.Option("--out", help="the run folder to write")],
    preset: Annotated[str | None, typer.Option("--preset", help="one of the recipe's presets")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="your own TOML")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", help="the recipe's data: drawn, images:DIR, 300w:DIR, digits, npz:FILE, ...; may be repeated"
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="one that is not trained here: dlib68, package.module:callable, timm:NAME@FILE"),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")] = None,
    control: Annotated[bool, typer.Option("--control", help="also train the student without teachers")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    overwrite: Overwrite = False,
    devices: Annotated[int, typer.Option("--devices", min=1, help="processes (GPUs) of this machine")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="machines, under torchrun or srun")] = 1,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu or gpu")] = "auto",
    strategy: Annotated[str, typer.Option("--strategy", help="ddp or ddp_find_unused_parameters_true")] = "ddp",
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Trains teachers and student, stage by stage, into a run folder.

    Example: `edgekd distill landmarks --preset quick --out runs/lm`
    """
    from edgekd.registry import recipe_entry

    facts = recipe_entry(recipe).facts
    from edgekd.training.distill import distill as run_distill
    from edgekd.training.ranks import is_first
    from edgekd.training.resume import unfinished

    quiet = quiet or not is_first()  # one process speaks for all that train together
    if preset is None and config is None and not resume:
        preset = facts.get("default_preset")
        if preset and not quiet and not json_output:
            say(f"preset {preset} (the recipe's default; `edgekd config show {recipe} --preset {preset}`)")
    try:
        with progress(quiet) as tell:
            run = run_distill(
                recipe,
                out,
                preset=preset,
                config_file=config,
                settings=settings or (),
                data=data or (),
                teacher=teacher,
                control=control,
                resume=resume,
                overwrite=overwrite,
                devices=devices,
                nodes=nodes,
                accelerator=accelerator,
                strategy=strategy,
                progress=tell,
            )
    except KeyboardInterrupt:
        if unfinished(out) is None:
            raise
        why = "every finished epoch is kept" + (f"; {out} stays as it is until then" if overwrite else "")
        again = f"edgekd distill {recipe} --out {out} --resume" + (f" --teacher {teacher}" if teacher else "")
        again += (f" --devices {devices}" if devices > 1 else "") + (f" --nodes {nodes}" if nodes > 1 else "")
        raise StoppedError("interrupted", why, again) from None
    record = run.record
    if json_output and is_first():
        print_json({"run": str(run.path), **record.model_dump(mode="json")})
    if json_output or quiet:
        return
    names = list(record.stages[0].test)
    print_table(
        f"{run.path}: held-out test set",
        ["", *(s.name for s in record.stages)],
        [
            ["weights", *(f"{s.weights:,}" for s in record.stages)],
            *([n, *(f"{s.test[n]:.4g}" for s in record.stages)] for n in names),
            ["best epoch", *(f"{s.best_epoch + 1} of {s.epochs}" for s in record.stages)],
            ["samples/s", *(f"{s.images_per_second:.0f}" for s in record.stages)],
            ["precision", *(s.precision for s in record.stages)],
        ],
    )
    for title, value in record.data.get("labels", {}).items():
        if title in ("teacher", "licence"):
            say(f"labels: {title}: {value}")
    say(f"next: edgekd export {run.path} --target onnxruntime --target openvino")
