import shutil

import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.landmarks.ibug import read, read_pts


def test_parts_subsets_and_order_are_those_of_the_folders(write_set):
    folder = write_set("300w")
    train, test = read(folder, "train"), read(folder, "test")
    assert [face.origin.removeprefix(f"{folder}/") for face in train.faces] == [
        *(f"afw/134212_{k}.pts" for k in (1, 2, 3)),
        *(f"helen/trainset/{k}_1.pts" for k in (1, 2, 3)),
        *(f"lfpw/trainset/image_000{k}.pts" for k in (1, 2)),
    ]
    assert [sorted(face.subsets) for face in test.faces] == [["common"]] * 3 + [["challenging"]] * 2
    assert len(train.files) == 16
    assert not any("_mirror" in file.name for file in train.files)


def test_faces_of_one_photo_are_known_as_such(write_set):
    photos = [face.photo for face in read(write_set("300w"), "train").faces]
    assert len(set(photos[:3])) == 1  # three copies of one photo, a face each
    assert len(set(photos)) == 6  # LFPW's four digits are no such number


def test_points_are_where_matlab_counts_from_one_and_the_crop_leaves_5_px(write_set, faces):
    for got, (picture, points) in zip(read(write_set("300w"), "train").faces, faces, strict=False):
        np.testing.assert_allclose(got.points, points, atol=1e-4)
        want = [*(points.min(axis=0) - 5), *(points.max(axis=0) + 5)]
        np.testing.assert_allclose(got.box, want, atol=1e-4)
        assert np.abs(got.read().astype(int) - picture).mean() < 6  # a JPEG


def test_a_picture_is_read_as_it_is_stored(write_set):
    """Annotations speak of stored pixels, whatever a camera's orientation tag says."""
    folder = write_set("300w")
    file = folder / "afw" / "134212_1.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(file) as image:
        image.save(file, exif=turned)
    assert read(folder, "train").faces[0].read().shape == (150, 210, 3)


@pytest.mark.parametrize("name", ["afw", "helen/trainset", "lfpw/testset", "ibug"])
def test_a_missing_folder_is_named_and_the_layout_shown(write_set, name):
    folder = write_set("300w")
    shutil.rmtree(folder / name)
    part = "test" if name in ("lfpw/testset", "ibug") else "train"
    with pytest.raises(InputError) as error:
        read(folder, part)
    assert str(error.value).startswith(f"{folder / name} is missing\n")
    assert "DIR/lfpw/trainset/" in str(error.value)


def test_a_folder_without_annotations_is_named(write_set):
    folder = write_set("300w")
    for file in (folder / "ibug").glob("*.pts"):
        file.unlink()
    with pytest.raises(InputError, match=r"ibug holds no \.pts file"):
        read(folder, "test")


def test_an_annotation_without_its_picture_is_named(write_set):
    folder = write_set("300w")
    (folder / "helen/trainset/2_1.jpg").unlink()
    with pytest.raises(InputError, match=r"helen/trainset/2_1\.jpg \(or \.png\) is missing, the picture of 2_1\.pts"):
        read(folder, "train")


HEAD = "version: 1\nn_points: 68\n{\n"
BODY = "".join(f"{k} {k + 1}\n" for k in range(68))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must begin with version: 1"),
        ("68\n" + BODY, "must begin with version: 1"),
        (b"\x89PNG\xff\xfe", "it is no text"),
        (HEAD + BODY, "line 71: the closing } is missing"),
        (HEAD + BODY + "7 8\n}\n", "another number of points than 68(.|\n)*n_points: 68 and has 69"),
        (HEAD.replace("68", "51") + "1 2\n" * 51 + "}\n", "another number of points than 68"),
        (HEAD + BODY.replace("9 10\n", "nan 10\n", 1) + "}\n", "line 13: nan .* is no place"),
        (HEAD + BODY.replace("9 10\n", "9 inf\n", 1) + "}\n", "line 13: .* inf is no place"),
        (HEAD + BODY.replace("9 10\n", "9 1e30\n", 1) + "}\n", "line 13: .* is no place"),
        (HEAD + BODY.replace("9 10\n", "9\n", 1) + "}\n", r"line 13: '9' are not two numbers"),
        (HEAD + BODY.replace("9 10\n", "9 10 11\n", 1) + "}\n", r"line 13: '9 10 11' are not two"),
        (HEAD + BODY.replace("9 10\n", "9 ten\n", 1) + "}\n", r"line 13: '9 ten' are not two"),
        (HEAD + "4 5\n" * 68 + "}\n", "points 36 and 45 coincide"),
        ("x" * (1 << 21), "larger than"),
    ],
)
def test_a_file_that_is_no_annotation_is_named_with_its_line(tmp_path, text, complaint):
    path = tmp_path / "face.pts"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=rf"face\.pts(.|\n)*{complaint}"):
        read_pts(path)


def test_blanks_and_windows_line_ends_are_no_matter(tmp_path):
    path = tmp_path / "face.pts"
    path.write_bytes(("version:1\r\nn_points:68 \r\n{\r\n" + BODY.replace("\n", " \r\n") + "}\r\n\r\n").encode())
    np.testing.assert_allclose(read_pts(path)[3], [2.5, 3.5])
