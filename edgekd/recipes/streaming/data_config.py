"""The ``data`` section of the recipe's configuration."""

from __future__ import annotations

from pydantic import Field

from edgekd.contracts import StrictModel


class DataConfig(StrictModel):
    """``source`` is ``street`` (drawn drives, exact boxes), ``argoverse:DIR`` (Argoverse-HD), or ``coco:DIR`` (any
    set in its form: COCO JSON with ``sid`` and ``fid``)."""

    source: tuple[str, ...] = ("street",)
    train: int = Field(60, ge=1, description="drawn training sequences")
    val: int = Field(8, ge=1, description="validation sequences: drawn, or the last ones of a set's training half")
    test: int = Field(8, ge=1, description="drawn test sequences; of a set on disk its validation half is the test set")
    frames: int = Field(60, ge=2, description="frames of a drawn sequence, at 30 per second")
    flip: float = Field(0.5, ge=0, le=1, description="share of training samples that are mirrored, all frames alike")
    fps: float = Field(30.0, gt=0, description="frames per second of a set on disk; the street has 30")
    cache: str = Field("", description="folder for drawn sequences; empty = beside the run")
