import shutil

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.recipes.landmarks.wflw import read

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"


def test_points_attributes_and_crops_are_those_of_the_list(write_set, faces, points_of):
    folder = write_set("wflw")
    test = read(folder, "test").faces
    assert [sorted(face.subsets) for face in test] == [
        ["pose"],
        ["expression", "illumination"],
        ["make-up", "occlusion"],
        ["blur", "pose"],
        [],
    ]
    for got, (picture, points) in zip(test, faces[8:], strict=True):
        want = points_of["wflw"](points)
        np.testing.assert_allclose(got.points, want, atol=1e-4)
        np.testing.assert_allclose(got.box, [*(want.min(axis=0) - 3), *(want.max(axis=0) + 3)], atol=1e-4)
        assert np.abs(got.read().astype(int) - picture).mean() < 6


def test_faces_of_one_photo_are_known_as_such_and_its_file_counted_once(write_set):
    train = read(write_set("wflw"), "train")
    assert [face.photo for face in train.faces][6:] == ["shared.jpg", "shared.jpg"]
    assert len(train.faces) == 8
    assert len(train.files) == 1 + 7


def test_lists_may_lie_in_the_folder_itself(write_set):
    folder = write_set("wflw")
    for file in (folder / LISTS).iterdir():
        file.rename(folder / file.name)
    assert len(read(folder, "train").faces) == 8


def test_a_missing_list_or_picture_folder_is_named_and_the_layout_shown(write_set):
    folder = write_set("wflw")
    shutil.move(folder / "WFLW_images", folder / "images")
    with pytest.raises(InputError) as error:
        read(folder, "train")
    assert str(error.value).startswith(f"{folder}/WFLW_images is missing\n")
    assert "DIR/WFLW_annotations/" in str(error.value)
    (folder / LISTS / "list_98pt_rect_attr_test.txt").unlink()
    with pytest.raises(InputError, match=r"list_98pt_rect_attr_test\.txt is missing"):
        read(folder, "test")


def changed(folder, line, change):
    file = folder / LISTS / "list_98pt_rect_attr_train.txt"
    lines = file.read_text().splitlines()
    lines[line - 1] = " ".join(change(lines[line - 1].split()))
    file.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c[:-1], r"line 3: 206 columns(.|\n)*each line has 207"),
        (lambda c: [*c, "0"], "line 3: 208 columns"),
        (lambda c: ["nan", *c[1:]], "line 3, point 0: nan .* is no place"),
        (lambda c: ["wide", *c[1:]], "line 3: a coordinate is no number(.|\n)*wide"),
        (lambda c: [*c[:200], "2", *c[201:]], "line 3: the attributes are 2 0 0 0 0 0"),
        (lambda c: [*c[:-1], "none.jpg"], r"none\.jpg is missing, the picture of .*line 3"),
        (lambda c: [*c[:-1], "../list.jpg"], r"line 3: \.\./list\.jpg is outside of"),
        (lambda c: [*c[:-1], "/etc/hostname"], "line 3: /etc/hostname is outside of"),
        (lambda c: [*c[:120], *c[144:146], *c[122:144], *c[144:]], "line 3: points 60 and 72 coincide"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(write_set, change, complaint):
    folder = write_set("wflw")
    changed(folder, 3, change)
    with pytest.raises(InputError, match=complaint):
        read(folder, "train")


@pytest.mark.parametrize(("content", "complaint"), [(b"\n\n", "is empty"), (b"\xff\xfe\x00 1", "it is no text")])
def test_a_list_that_is_none_is_named(write_set, content, complaint):
    folder = write_set("wflw")
    (folder / LISTS / "list_98pt_rect_attr_test.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"list_98pt_rect_attr_test\.txt(.|\n)*{complaint}"):
        read(folder, "test")
