"""Bundles that are sound but say or hold something else than they should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def reseal() -> Callable[..., Path]:
    """``reseal(bundle, key=value)``: files listed as they are now, keys of the manifest changed, and sealed."""
    from edgekd.bundle.manifest import Manifest, write_manifest
    from edgekd.storage import sha256_file

    def write(folder: Path, **changes: Any) -> Path:
        data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        del data["$schema"]
        data["files"] = {
            p.name: {"sha256": sha256_file(p), "bytes": p.stat().st_size}
            for p in sorted(folder.iterdir())
            if p.name != "manifest.json"
        }
        write_manifest(folder, Manifest.model_validate(data | changes))
        return folder

    return write
