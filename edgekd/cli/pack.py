"""``edgekd pack``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.options import Debug, Json, Overwrite, Quiet, Verbose, print_json, say


def pack(
    bundle: Annotated[Path, typer.Argument(help="a bundle folder")],
    out: Annotated[Path | None, typer.Option("--out", help="the archive; BUNDLE.zip if left out")] = None,
    overwrite: Overwrite = False,
    json_output: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """One file of a bundle, to be sent to a device. The same bundle gives the same bytes.

    Example: `edgekd pack bundles/lm-openvino`
    """
    from edgekd.bundle.archive import pack as run_pack
    from edgekd.storage import sha256_file

    archive = run_pack(bundle, out, overwrite=overwrite)
    size, sha256 = archive.stat().st_size, sha256_file(archive)
    if json_output:
        print_json({"archive": str(archive), "bytes": size, "sha256": sha256})
    elif not quiet:
        say(f"{archive}: {size / 1e6:.2f} MB, sha256 {sha256}")
