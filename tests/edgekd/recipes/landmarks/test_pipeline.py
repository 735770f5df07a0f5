import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgekd.contracts import ImageSpec, IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.landmarks import pipeline
from edgekd.recipes.landmarks.pipeline import Pipeline


def io(size=(48, 48), layout="NCHW", channels=3, **image):
    shape = (1, channels, *size) if layout == "NCHW" else (1, *size, channels)
    return IoSpec(
        inputs=(TensorSpec(name="image", shape=shape, layout=layout, image=ImageSpec(**image)),),
        outputs=(TensorSpec(name="landmarks", shape=(1, 136)),),
    )


def smooth_picture(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def test_it_imports_neither_torch_nor_a_runtime_nor_dlib_nor_av():
    code = (
        "import sys; from edgekd.recipes.landmarks import pipeline, metrics; "
        "heavy = {'torch', 'onnxruntime', 'openvino', 'dlib', 'av', 'scipy'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_whole_picture_is_the_crop_where_no_box_is_given():
    picture = smooth_picture(96, 144)
    fed = Pipeline(io()).preprocess({"image": picture})["image"]
    want = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR))
    assert fed.shape == (1, 3, 48, 48)
    assert fed.dtype == np.float32
    assert fed.flags.c_contiguous
    np.testing.assert_allclose(fed[0].transpose(1, 2, 0), want / 255.0, atol=1e-6)


def test_every_number_comes_from_the_io_spec():
    picture = smooth_picture(60, 60)
    spec = {"scale": 0.5, "mean": (1.0, 2.0, 3.0), "std": (2.0, 4.0, 8.0), "resampler": "nearest"}
    pixels = np.asarray(Image.fromarray(picture).resize((20, 30), Image.Resampling.NEAREST), np.float32)
    want = (pixels * 0.5 - [1, 2, 3]) / [2, 4, 8]
    fed = Pipeline(io((30, 20), **spec)).preprocess({"image": picture})["image"]
    np.testing.assert_allclose(fed[0].transpose(1, 2, 0), want, rtol=1e-6)
    fed = Pipeline(io((30, 20), layout="NHWC", **spec)).preprocess({"image": picture})["image"]
    np.testing.assert_allclose(fed[0], want, rtol=1e-6)


def test_colour_order_and_grey_follow_the_io_spec():
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 255
    assert Pipeline(io(color="BGR")).preprocess({"image": red})["image"][0, :, 5, 5].tolist() == [0, 0, 1]
    grey = Pipeline(io(color="L", channels=1, mean=(0.0,), std=(1.0,))).preprocess({"image": red})["image"]
    assert grey.shape == (1, 1, 48, 48)
    assert grey[0, 0, 5, 5] == pytest.approx(76 / 255)


def test_predictions_come_back_to_the_pixels_they_were_cropped_from():
    """A spot is found in the crop where the model would see it, and mapped back onto itself."""
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[70:74, 91:95] = 255  # centre (93, 72)
    raw = {"image": picture, "box": np.array([60, 30, 140, 90], np.float32)}  # anisotropic: 80 x 60
    pipe = Pipeline(io((96, 96)))
    light = pipe.preprocess(raw)["image"][0, 0]
    ys, xs = np.mgrid[:96, :96] + 0.5
    seen = np.array([(light * xs).sum(), (light * ys).sum()]) / light.sum() / 96 - 0.5
    outputs = {"landmarks": np.tile(seen, 68)[None].astype(np.float32)}
    points = pipe.postprocess(outputs, raw)["landmarks"]
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, np.tile([93, 72], (68, 1)), atol=0.05)


def test_the_crops_corners_and_centre_map_as_stated():
    raw = {"image": np.zeros((50, 50, 3), np.uint8), "box": np.array([-10, 0, 30, 20], np.float32)}
    outputs = {"landmarks": np.array([[-0.5, -0.5, 0.0, 0.0, 0.5, 0.5]], np.float32)}
    points = Pipeline(io()).postprocess(outputs, raw)["landmarks"]
    np.testing.assert_allclose(points, [[-10, 0], [10, 10], [30, 20]])


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        ((5, 5, 5, 20), "empty"),
        ((20, 20, 5, 5), "empty"),
        ((0, 0, float("nan"), 9), "empty"),
        ((200, 0, 300, 50), "outside"),
        ((-1e6, -1e6, 1e6, 1e6), "far larger"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused(box, complaint):
    with pytest.raises(InputError, match=complaint):
        Pipeline(io()).preprocess({"image": smooth_picture(60, 60), "box": np.array(box, np.float32)})


@pytest.mark.parametrize("image", [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8), np.zeros((1, 3, 9, 9))])
def test_only_uint8_rgb_pictures_are_taken(image):
    with pytest.raises(InputError, match="must be uint8"):
        Pipeline(io()).preprocess({"image": image})


def test_a_model_without_a_fixed_picture_input_is_refused():
    spec = io()
    vague = spec.inputs[0].model_copy(update={"shape": (1, 3, "rows", 48)})
    plain = spec.inputs[0].model_copy(update={"image": None})
    for own in (vague, plain):
        with pytest.raises(InputError):
            Pipeline(IoSpec(inputs=(own,), outputs=spec.outputs))


# --- read


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(smooth_picture(80, 120)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_given_box_is_used_as_it_is(photo):
    [(label, raw)] = Pipeline(io()).read({"image": str(photo), "box": "10,5,90.5,70"})
    assert label == "photo.png"
    np.testing.assert_array_equal(raw["box"], np.float32([10, 5, 90.5, 70]))


@pytest.mark.parametrize(("installed", "says"), [(False, "no face detector installed"), (True, "no face found")])
def test_the_label_says_when_the_whole_picture_had_to_do(photo, monkeypatch, installed, says):
    monkeypatch.setattr(pipeline, "detector_installed", lambda: installed)
    monkeypatch.setattr(pipeline, "find_faces", lambda picture: [])
    [(label, raw)] = Pipeline(io()).read({"image": str(photo)})
    assert label == f"photo.png [whole picture: {says}]"
    np.testing.assert_array_equal(raw["box"], [0, 0, 120, 80])


def test_every_face_is_an_item_of_its_own(photo, monkeypatch):
    boxes = [np.float32([0, 0, 50, 50]), np.float32([60, 10, 100, 50])]
    monkeypatch.setattr(pipeline, "detector_installed", lambda: True)
    monkeypatch.setattr(pipeline, "find_faces", lambda picture: boxes)
    items = list(Pipeline(io()).read({"image": str(photo)}))
    assert [label for label, _ in items] == ["photo.png face 1", "photo.png face 2"]
    np.testing.assert_array_equal(items[1][1]["box"], boxes[1])


def test_a_folder_gives_its_pictures_by_name_and_leaves_other_files_out(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(smooth_picture(30, 30)).save(tmp_path / name)
    (tmp_path / "README.txt").write_text("no picture")
    items = Pipeline(io()).read({"image": str(tmp_path), "box": "0,0,30,30"})
    assert [label for label, _ in items] == ["a.jpg", "b.png", "sub/c.png"]


def test_an_item_goes_through_the_pipeline_and_is_drawn(photo):
    pipe = Pipeline(io())
    [(_, raw)] = pipe.read({"image": str(photo), "box": "10,5,90,70"})
    assert pipe.preprocess(raw)["image"].shape == (1, 3, 48, 48)
    points = pipe.postprocess({"landmarks": np.linspace(-0.3, 0.3, 136, dtype=np.float32)[None]}, raw)
    plain, compared = pipe.draw([raw], [points]), pipe.draw([raw], [points], [{"landmarks": points["landmarks"] + 5}])
    assert plain.size == compared.size == (640, 427)
    assert np.abs(np.asarray(plain, int) - np.asarray(compared, int)).max() > 50


@pytest.mark.parametrize("inputs", [{}, {"picture": "x.png"}, {"image": "x.png", "colour": "red"}])
def test_unknown_inputs_are_refused(inputs):
    with pytest.raises(InputError, match="unknown inputs"):
        Pipeline(io()).read(inputs)


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", ""])
def test_a_box_that_is_no_box_is_refused(photo, box):
    with pytest.raises(InputError, match="is not a box"):
        Pipeline(io()).read({"image": str(photo), "box": box})


def test_missing_and_empty_places_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Pipeline(io()).read({"image": str(tmp_path / "none.jpg")})
    with pytest.raises(InputError, match="no picture in"):
        Pipeline(io()).read({"image": str(tmp_path)})
