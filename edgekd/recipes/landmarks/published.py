"""The published data sets: what each is, apart from its pictures. Imports nothing, for the configuration reads it.

Sizes and copies are those of the paper's authors (KD-Loss, A8). A set is named on the command line by its kind
and folder: ``300w:DIR``, ``cofw:DIR``, ``wflw:DIR``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSet:
    """One published data set.

    Attributes:
        kind: what stands before the colon of a source.
        name: as papers call it.
        points: of each face.
        factor: augmented copies of each training face per epoch.
        train, test: faces in it.
        whole: what papers call all of the test set.
        subsets: of the test set, with their faces.
        layout: what a folder must hold, for messages.
        licence: as far as it is known to edgekd.
    """

    kind: str
    name: str
    points: int
    factor: int
    train: int
    test: int
    whole: str
    subsets: Mapping[str, int]
    layout: str
    licence: str


SETS: Mapping[str, PublishedSet] = {
    own.kind: own
    for own in (
        PublishedSet(
            kind="300w",
            name="300W",
            points=68,
            factor=6,
            train=3148,
            test=689,
            whole="full",
            subsets={"common": 554, "challenging": 135},
            layout="""\
            DIR/afw/NAME.pts, and beside it NAME.jpg or NAME.png
            DIR/helen/trainset/  DIR/helen/testset/
            DIR/lfpw/trainset/   DIR/lfpw/testset/
            DIR/ibug/""",
            licence="iBUG 300-W: annotations for research only, no commercial use; pictures as their owners allow",
        ),
        PublishedSet(
            kind="cofw",
            name="COFW",
            points=29,
            factor=10,
            train=1345,
            test=507,
            whole="test",
            subsets={},
            layout="""\
            DIR/COFW_train_color.mat, or the grey DIR/COFW_train.mat
            DIR/COFW_test_color.mat, or the grey DIR/COFW_test.mat""",
            licence="COFW: said to be CC BY 4.0 (CaltechDATA bc0bf-nc666), not checked by edgekd; its pictures are "
            "from the web, 845 of them LFPW's: take it for research only unless their owners say otherwise",
        ),
        PublishedSet(
            kind="wflw",
            name="WFLW",
            points=98,
            factor=5,  # and more for faces in the subsets, which is not done here: it weighs the training set anew
            train=7500,
            test=2500,
            whole="all",
            subsets={
                "pose": 326,
                "expression": 314,
                "illumination": 698,
                "make-up": 206,
                "occlusion": 736,
                "blur": 773,
            },
            layout="""\
            DIR/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt
            DIR/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt
              (the lists may also lie in DIR itself)
            DIR/WFLW_images/, and below it the pictures that the lists name""",
            licence="WFLW: for non-commercial research only; its pictures are WIDER FACE's",
        ),
    )
}


def published_set(source: str) -> PublishedSet | None:
    """The set that a source such as ``wflw:DIR`` is of; None for other sources."""
    return SETS.get(source.partition(":")[0])
