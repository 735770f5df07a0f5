"""Small folders in the formats that data sets are published in, with drawn faces as their pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Face = tuple[np.ndarray, np.ndarray]  # picture (H, W, 3) uint8, 68 points; 0 is the first pixel's edge

ATTRIBUTES = {  # of the faces of a test list; the subsets of WFLW
    0: (1, 0, 0, 0, 0, 0),
    1: (0, 1, 1, 0, 0, 0),
    2: (0, 0, 0, 1, 1, 0),
    3: (1, 0, 0, 0, 0, 1),
}


def as_98(p: np.ndarray) -> np.ndarray:
    """WFLW's points, between iBUG's 68."""

    def middle(one: int, other: int) -> np.ndarray:
        return (p[one] + p[other]) / 2

    down = 0.15 * (p[36:48].mean(axis=0) - p[17:27].mean(axis=0))
    jaw = [p[k // 2] if k % 2 == 0 else middle(k // 2, k // 2 + 1) for k in range(33)]
    left = [*p[17:22], *(middle(k, k - 1) + down for k in (21, 20, 19, 18))]
    right = [*p[22:27], *(middle(k, k - 1) + down for k in (26, 25, 24, 23))]
    eyes = [
        point
        for k in (36, 42)
        for point in (
            p[k],
            p[k + 1],
            middle(k + 1, k + 2),
            p[k + 2],
            p[k + 3],
            p[k + 4],
            middle(k + 4, k + 5),
            p[k + 5],
        )
    ]
    pupils = [p[36:42].mean(axis=0), p[42:48].mean(axis=0)]
    return np.array([*jaw, *left, *right, *p[27:31], *p[31:36], *eyes, *p[48:60], *p[60:68], *pupils])


def as_29(p: np.ndarray) -> np.ndarray:
    """COFW's points, between iBUG's 68."""
    down = 0.15 * (p[36:48].mean(axis=0) - p[17:27].mean(axis=0))
    brows = [p[17], p[26], p[21], p[22], p[19], p[19] + down, p[24], p[24] + down]
    corners = [p[36], p[45], p[39], p[42]]
    lids = [(p[one] + p[one + 1]) / 2 for one in (37, 40, 43, 46)]
    middle = [p[36:42].mean(axis=0), p[42:48].mean(axis=0), p[31], p[35], p[30], p[33]]
    return np.array([*brows, *corners, *lids, *middle, p[48], p[54], p[51], p[62], p[66], p[57], p[8]])


def write_pts(path: Path, points: np.ndarray) -> None:
    """As iBUG does: MATLAB's pixels, whose first is 1."""
    lines = "".join(f"{x:.6f} {y:.6f}\n" for x, y in points + 0.5)
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n{lines}}}\n")


def write_300w(root: Path, faces: Sequence[Face]) -> Path:
    """Eight training faces, three of them of one photo, and a mirrored copy; five of the test set, two challenging."""
    where = [
        *("afw/134212_1.jpg", "afw/134212_2.jpg", "afw/134212_3.jpg"),
        *("helen/trainset/1_1.jpg", "helen/trainset/2_1.jpg", "helen/trainset/3_1.jpg"),
        *("lfpw/trainset/image_0001.png", "lfpw/trainset/image_0002.png"),
        *("helen/testset/4_1.jpg", "lfpw/testset/image_0001.png", "lfpw/testset/image_0003.PNG"),
        *("ibug/image_003_1.jpg", "ibug/image_092 _01.jpg"),
    ]
    for name, (picture, points) in zip(where, faces, strict=False):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file, quality=95)
        write_pts(file.with_suffix(".pts"), points)
    picture, points = faces[3]
    Image.fromarray(picture[:, ::-1]).save(root / "helen/trainset/1_1_mirror.jpg")
    write_pts(root / "helen/trainset/1_1_mirror.pts", points)
    return root


def write_wflw(root: Path, faces: Sequence[Face]) -> Path:
    """Eight training faces, two of them of one photo, and five of the test set."""
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    for part, own in (("train", faces[:8]), ("test", faces[8:13])):
        lines = []
        for k, (picture, points) in enumerate(own):
            name = f"{k % 3}--Event/{k % 3}_Event_{part}_{min(k, 6)}.jpg"  # the last two training faces share one
            file = root / "WFLW_images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if part == "train" and k >= 6:
                file = root / "WFLW_images" / "shared.jpg"
                name, picture = "shared.jpg", faces[6][0]
            Image.fromarray(picture).save(file, quality=95)
            values = as_98(points) - 0.5
            box = [*values.min(axis=0).astype(int), *values.max(axis=0).astype(int)]
            flags = ATTRIBUTES.get(k, (0,) * 6) if part == "test" else (0,) * 6
            lines.append(" ".join([*(f"{v:.6f}" for v in values.reshape(-1)), *map(str, (*box, *flags)), name]))
        (lists / f"list_98pt_rect_attr_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_mat(path: Path, faces: Sequence[Face], suffix: str, grey: frozenset[int] = frozenset()) -> None:
    """As MATLAB 7.3 does: 512 bytes of its own, then HDF5; arrays transposed, cells as references into ``#refs#``."""
    h5py = pytest.importorskip("h5py", reason="COFW needs h5py (extra datasets)")
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset(f"Is{suffix}", (1, len(faces)), dtype=h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        labels, boxes = [], []
        for k, (picture, points) in enumerate(faces):
            values = np.asarray(Image.fromarray(picture).convert("L")).T if k in grey else picture.transpose(2, 1, 0)
            stored = file.create_dataset(f"#refs#/{k}", data=values)
            stored.attrs["MATLAB_class"] = np.bytes_("uint8")
            cells[0, k] = stored.ref
            own = as_29(points) + 0.5
            low, high = own[8:16].min(axis=0), own.max(axis=0)  # a detector's box cuts the brows off
            labels.append([*own[:, 0], *own[:, 1], *np.zeros(29)])
            boxes.append([*low, *(high - low)])
        file.create_dataset(f"phis{suffix}", data=np.array(labels).T)
        file.create_dataset(f"bboxes{suffix}", data=np.array(boxes).T)
    with path.open("r+b") as start:
        start.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def write_cofw(root: Path, faces: Sequence[Face]) -> Path:
    """Eight training faces, one of them grey, and five of the test set."""
    root.mkdir(parents=True, exist_ok=True)
    write_mat(root / "COFW_train_color.mat", faces[:8], "Tr", grey=frozenset({2}))
    write_mat(root / "COFW_test_color.mat", faces[8:13], "T")
    return root


@pytest.fixture(scope="session")
def faces() -> list[Face]:
    """13 drawn faces in pictures that are wider than high, each face at another place."""
    from edgekd.recipes.landmarks.faces import draw_faces

    images, points = draw_faces(5, 0, 13, 120)
    found = []
    for k, (image, own) in enumerate(zip(images, points, strict=True)):
        picture = np.full((150, 210, 3), 70, np.uint8)
        x, y = 5 + 6 * k, 3 + 2 * k
        picture[y : y + 120, x : x + 120] = image
        found.append((picture, np.asarray(own, np.float64) + np.array([x, y])))
    return found


Writer = Callable[[Path, Sequence[Face]], Path]
WRITERS: dict[str, Writer] = {"300w": write_300w, "cofw": write_cofw, "wflw": write_wflw}
POINTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"300w": np.asarray, "cofw": as_29, "wflw": as_98}


@pytest.fixture(scope="session")
def write_set_in(faces: list[Face]) -> Callable[[Path, str], Path]:
    """``write_set_in(folder, kind)``: a folder of that published set, 8 training and 5 test faces."""
    return lambda folder, kind: WRITERS[kind](folder / kind, faces)


@pytest.fixture
def write_set(tmp_path: Path, write_set_in: Callable[[Path, str], Path]) -> Callable[[str], Path]:
    """``write_set(kind)``: the same, in a folder of the test's own."""
    return lambda kind: write_set_in(tmp_path, kind)


@pytest.fixture(scope="session")
def points_of() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Kind of a set -> its points, out of iBUG's 68."""
    return POINTS
