import sys

import numpy as np
import pytest

from edgekd.errors import InputError, MachineError

h5py = pytest.importorskip("h5py", reason="COFW needs h5py (extra datasets)")

from edgekd.recipes.landmarks.cofw import read  # noqa: E402


def test_points_pictures_and_crops_are_those_of_the_file(write_set, faces, points_of):
    got = read(write_set("cofw"), "train")
    assert len(got.faces) == 8
    for k, (face, (picture, points)) in enumerate(zip(got.faces, faces, strict=False)):
        want = points_of["cofw"](points)
        np.testing.assert_allclose(face.points, want, atol=1e-4)
        seen = face.read()
        if k == 2:  # the grey one
            assert (seen == seen[:, :, :1]).all()
            assert np.abs(seen[:, :, 0].astype(int) - picture @ [0.299, 0.587, 0.114]).max() < 2
        else:
            np.testing.assert_array_equal(seen, picture)


def test_the_crop_holds_the_files_box_and_all_points_and_a_twentieth_more(write_set, faces, points_of):
    folder = write_set("cofw")
    with h5py.File(folder / "COFW_train_color.mat", "r+") as file:
        file["bboxesTr"][:, 0] = [21, 31, 150, 100]  # MATLAB's 21 is 20.5 here
    face = read(folder, "train").faces[0]
    own = points_of["cofw"](faces[0][1])
    low = np.minimum(own.min(axis=0), [20.5, 30.5])
    high = np.maximum(own.max(axis=0), [170.5, 130.5])
    pad = 0.05 * (high - low)
    np.testing.assert_allclose(face.box, [*(low - pad), *(high + pad)], atol=1e-3)
    other = read(folder, "train").faces[1]  # whose box cuts the brows off
    assert (other.points.min(axis=0) > other.box[:2]).all()


def test_the_grey_files_do_where_there_are_no_coloured_ones(write_set):
    folder = write_set("cofw")
    for part in ("train", "test"):
        (folder / f"COFW_{part}_color.mat").rename(folder / f"COFW_{part}.mat")
    assert len(read(folder, "test").faces) == 5


def test_without_h5py_it_says_what_to_install(write_set, monkeypatch):
    folder = write_set("cofw")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MachineError, match=r'pip install "edgekd\[datasets\]"'):
        read(folder, "train")


def test_a_missing_file_is_named_and_the_layout_shown(write_set):
    folder = write_set("cofw")
    (folder / "COFW_test_color.mat").unlink()
    with pytest.raises(InputError, match=r"COFW_test_color\.mat is missing(.|\n)*DIR/COFW_train_color\.mat"):
        read(folder, "test")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"MATLAB 5.0 MAT-file, Platform: PCWIN64".ljust(512), "it is a MATLAB 5 file(.|\n)*-v7.3"),
        (b"", "it is no HDF5 file"),
        (b"hello" * 200, "it is no HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "is damaged"),
    ],
)
def test_a_file_that_is_no_matlab_73_is_named(write_set, content, complaint):
    folder = write_set("cofw")
    (folder / "COFW_train_color.mat").write_bytes(content)
    with pytest.raises(InputError, match=rf"COFW_train_color\.mat (.|\n)*{complaint}"):
        read(folder, "train")


def test_a_file_that_broke_off_is_named(write_set):
    folder = write_set("cofw")
    file = folder / "COFW_train_color.mat"
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"COFW_train_color\.mat is damaged"):
        read(folder, "train")


def replaced(name, make):
    def change(file):
        del file[name]
        make(file)

    return change


def cell(value):
    """Puts ``value`` into the cell of face 0."""

    def change(file):
        file["#refs#/new"] = value
        file["IsTr"][0, 0] = file["#refs#/new"].ref

    return change


def nothing(file):
    file["IsTr"][0, 0] = h5py.Reference()


def group(file):
    file["IsTr"][0, 0] = file["#refs#"].ref


def elsewhere(file):
    other = file.create_dataset("#refs#/out", (3, 9, 9), np.uint8, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    file["IsTr"][0, 0] = other.ref


def virtual(file):
    layout = h5py.VirtualLayout((3, 9, 9), np.uint8)
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (3, 9, 9))
    file["IsTr"][0, 0] = file.create_virtual_dataset("#refs#/virtual", layout).ref


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (replaced("phisTr", lambda f: None), r"has no phisTr(.|\n)*IsTr"),
        (replaced("bboxesTr", lambda f: None), "has no bboxesTr"),
        (replaced("IsTr", lambda f: None), "has no IsTr"),
        (replaced("phisTr", lambda f: f.create_dataset("phisTr", (8, 87), "f4")), r"phisTr is float32 \(8, 87\)"),
        (replaced("phisTr", lambda f: f.create_group("phisTr")), "phisTr is no array"),
        (replaced("IsTr", lambda f: f.create_dataset("IsTr", (1, 8), "f4")), "IsTr is float32(.|\n)*cell array"),
        (replaced("IsTr", lambda f: f.create_dataset("IsTr", (1 << 40, 8), "f4")), "IsTr has .* pictures"),
        (lambda f: f["phisTr"].__setitem__((5, 2), np.nan), r"face 2, point 5: nan .* is no place"),
        (lambda f: f["bboxesTr"].__setitem__((2, 1), 0), "face 1: its box is"),
        (lambda f: f["bboxesTr"].__setitem__((0, 1), 1e300), "face 1: its box is"),
        (cell(np.zeros((9, 9, 4), np.uint8)), r"IsTr, face 0 is uint8 \(9, 9, 4\)"),
        (cell(np.zeros((9, 9))), r"IsTr, face 0 is float64 \(9, 9\)"),
        (cell(np.zeros((0, 9), np.uint8)), "IsTr, face 0 has 0 values"),
        (nothing, "IsTr, face 0 is empty"),
        (group, "IsTr, face 0 is no array"),
        (elsewhere, "IsTr, face 0 lies in another file"),
        (virtual, "IsTr, face 0 lies in another file"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(write_set, change, complaint):
    folder = write_set("cofw")
    with h5py.File(folder / "COFW_train_color.mat", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=rf"COFW_train_color\.mat(.|\n)*{complaint}"):
        read(folder, "train").faces[0].read()


@pytest.mark.parametrize("link", [lambda p: h5py.ExternalLink(p, "IsTr"), lambda p: h5py.SoftLink("/phisTr")])
def test_a_link_is_never_followed(write_set, link):
    folder = write_set("cofw")
    with h5py.File(folder / "COFW_train_color.mat", "r+") as file:
        del file["IsTr"]
        file["IsTr"] = link(str(folder / "COFW_test_color.mat"))
    with pytest.raises(InputError, match=r"IsTr is a link(.|\n)*in the file itself"):
        read(folder, "train")
