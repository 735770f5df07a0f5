import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgekd.contracts import IoSpec, TensorSpec
from edgekd.errors import InputError
from edgekd.recipes.tryon.pipeline import Pipeline

HEIGHT, WIDTH = 96, 64


def raw_of(person, garment, **more):
    return {"person": person, "clothes": garment[0], "clothes_edge": garment[1], **more}


def outputs_of(tryon, warped=None, grid=None):
    """A student's outputs, given as pictures."""

    def tensor(picture):
        return (picture.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]

    grid = np.zeros((1, 2, HEIGHT, WIDTH), np.float32) if grid is None else grid
    return {"tryon": tensor(tryon), "warped_cloth": tensor(tryon if warped is None else warped), "grid": grid}


def photo(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def test_feeds_have_the_io_specs_names_sizes_and_ranges(io, person, garment):
    feeds = Pipeline(io).preprocess(raw_of(person, garment))
    assert {name: value.shape for name, value in feeds.items()} == {t.name: t.shape for t in io.inputs}
    assert all(value.dtype == np.float32 and value.flags.c_contiguous for value in feeds.values())
    np.testing.assert_allclose(feeds["person"][0], person.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert set(np.unique(feeds["clothes_edge"])) == {0, 1}


def test_the_garment_is_masked_after_it_is_normalised(io, person, garment):
    feeds = Pipeline(io).preprocess(raw_of(person, garment))
    outside = np.broadcast_to(feeds["clothes_edge"] == 0, feeds["clothes"].shape)
    assert (feeds["clothes"][outside] == 0).all()  # mid-grey, not black
    assert np.abs(feeds["clothes"][~outside]).mean() > 0.1


def test_a_garment_keeps_its_proportions(io, person):
    wide = np.full((50, 200, 3), 200, np.uint8)
    edge = np.full((50, 200), 255, np.uint8)
    feeds = Pipeline(io).preprocess(raw_of(person, (wide, edge)))
    rows = np.flatnonzero(feeds["clothes_edge"][0, 0].any(1))
    assert len(rows) == pytest.approx(WIDTH / 4, abs=1)
    assert rows.mean() == pytest.approx(HEIGHT / 2 - 0.5, abs=1)


def test_a_photograph_of_the_students_size_goes_through_unchanged(io, person, garment):
    pipeline, raw = Pipeline(io), raw_of(person, garment)
    found = pipeline.postprocess(outputs_of(person), raw)
    np.testing.assert_array_equal(found["tryon"], person)


def test_a_photograph_of_another_shape_is_cropped_in_its_middle_and_pasted_back(io, garment):
    person = photo(300, 400)
    pipeline, raw = Pipeline(io), raw_of(person, garment)
    result = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    found = pipeline.postprocess(outputs_of(result), raw)["tryon"]
    assert found.shape == person.shape
    assert (found[:, 100:300] == 0).all()  # 200 x 300 of it, about the middle
    np.testing.assert_array_equal(found[:, :100], person[:, :100])
    np.testing.assert_array_equal(found[:, 300:], person[:, 300:])
    middle = np.asarray(Image.fromarray(person[:, 100:300]).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
    seen = (pipeline.preprocess(raw)["person"][0].transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(seen - middle).mean() < 1


def test_a_box_is_what_is_looked_at_and_replaced(io, garment):
    person = photo(200, 200)
    pipeline, raw = Pipeline(io), raw_of(person, garment, box=np.float32([20, 30, 60, 90]))
    found = pipeline.postprocess(outputs_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), raw)["tryon"]
    changed = (found != person).any(2)
    assert changed[32:88, 22:58].all()
    changed[30:90, 20:60] = False
    assert not changed.any()


def test_a_box_beyond_the_picture_is_pasted_where_it_is(io, garment):
    person = photo(120, 80)
    pipeline, raw = Pipeline(io), raw_of(person, garment, box=np.float32([-20, -30, 60, 90]))
    assert pipeline.preprocess(raw)["person"].shape == (1, 3, HEIGHT, WIDTH)
    found = pipeline.postprocess(outputs_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), raw)["tryon"]
    assert (found[:90, :60] == 0).all()
    np.testing.assert_array_equal(found[90:], person[90:])


def test_a_mask_puts_the_person_on_white_and_keeps_the_background(io, garment):
    person = np.clip(photo(150, 100), 10, 200)
    mask = np.zeros((150, 100), np.uint8)
    mask[30:130, 30:70] = 255
    pipeline, raw = Pipeline(io), raw_of(person, garment, mask=mask)
    seen = pipeline.preprocess(raw)["person"]
    assert seen[0, :, 0, 0] == pytest.approx(1)
    assert seen[0, :, HEIGHT // 2, WIDTH // 2].max() < 0.7
    found = pipeline.postprocess(outputs_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), raw)["tryon"]
    assert (found[35:125, 35:65] == 0).all()
    np.testing.assert_array_equal(found[mask == 0][:2000], person[mask == 0][:2000])
    border = found[80, 28:33].astype(int)
    assert (np.diff(border.sum(1)) <= 0).all()  # blended, not cut


def test_a_mask_says_where_the_person_is(io, garment):
    person, mask = photo(300, 600), np.zeros((300, 600), np.uint8)
    mask[100:250, 450:520] = 255
    box = Pipeline(io)._person(raw_of(person, garment, mask=mask))[1]
    assert box[0] < 450 < 520 < box[2]
    assert box[1] < 100 < 250 < box[3]
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(WIDTH / HEIGHT, abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 30), (1500, 1100)])
def test_any_size_comes_back_in_its_own(io, garment, size):
    person = photo(*size)
    pipeline, raw = Pipeline(io), raw_of(person, garment)
    feeds = pipeline.preprocess(raw)
    assert all(np.isfinite(value).all() for value in feeds.values())
    assert pipeline.postprocess(outputs_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), raw)["tryon"].shape == person.shape


def test_what_the_student_saw_on_the_way_is_given_too(io, person, garment):
    warped = photo(HEIGHT, WIDTH, 3)
    grid = np.random.default_rng(0).uniform(-1, 1, (1, 2, HEIGHT, WIDTH)).astype(np.float32)
    found = Pipeline(io).postprocess(outputs_of(person, warped, grid), raw_of(person, garment))
    np.testing.assert_array_equal(found["warped_cloth"], warped)
    np.testing.assert_array_equal(found["grid"], grid[0].transpose(1, 2, 0))


def test_outputs_beyond_their_range_are_clipped(io, person, garment):
    outputs = outputs_of(person)
    outputs["tryon"] = np.full_like(outputs["tryon"], 7.0)
    outputs["tryon"][0, :, 0, 0] = np.nan
    found = Pipeline(io).postprocess(outputs, raw_of(person, garment))["tryon"]
    assert (found[1:] == 255).all()
    assert (np.abs(found[0, 0].astype(int) - 127) <= 1).all()  # no number is the middle of the range


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"clothes_edge": None}, "there is no clothes_edge"),
        ({"clothes_edge": np.zeros((120, 80), np.uint8)}, "clothes_edge is empty"),
        ({"clothes_edge": np.full((10, 10), 255, np.uint8)}, "clothes_edge is uint8"),
        ({"person": None}, "there is no person"),
        ({"person": np.zeros((9, 9), np.uint8)}, "person is uint8"),
        ({"person": np.zeros((9, 9, 3), np.float32)}, "person is float32"),
        ({"mask": np.zeros((96, 64), np.uint8)}, "mask is empty"),
        ({"mask": np.ones((5, 5), np.uint8)}, "mask is uint8"),
        ({"box": np.float32([5, 5, 5, 9])}, "is empty"),
        ({"box": np.float32([500, 5, 600, 9])}, "lies outside"),
        ({"box": np.float32([1, 2])}, "box is float32"),
    ],
)
def test_input_that_cannot_be_used_is_named(io, person, garment, change, what):
    raw = {k: v for k, v in {**raw_of(person, garment), **change}.items() if v is not None}
    with pytest.raises(InputError, match=what):
        Pipeline(io).preprocess(raw)


def test_a_garment_that_vanishes_when_it_is_made_small_is_refused(io, person):
    mask = np.zeros((900, 600), np.uint8)
    mask[3, 3] = 255
    with pytest.raises(InputError, match="the garment vanishes"):
        Pipeline(io).preprocess(raw_of(person, (np.zeros((900, 600, 3), np.uint8), mask)))


def test_another_kind_of_model_is_refused(io):
    one = TensorSpec(name="image", shape=(1, 3, 8, 8))
    with pytest.raises(InputError, match="this is no try-on model"):
        Pipeline(IoSpec(inputs=(one,), outputs=(TensorSpec(name="y", shape=(1,)),)))
    loose = io.inputs[0].model_copy(update={"shape": (1, 3, "height", 64)})
    with pytest.raises(InputError, match="no fixed size"):
        Pipeline(io.model_copy(update={"inputs": (loose, *io.inputs[1:])}))


def test_the_halves_of_a_model_are_fed_what_they_take(io, person, garment):
    held = TensorSpec(name="pyramid", shape=(1, 8, 4, 4))
    frame = Pipeline(io.model_copy(update={"inputs": (io.inputs[0], held)}))
    once = Pipeline(IoSpec(inputs=io.inputs[1:], outputs=(held,)))
    whole = Pipeline(io).preprocess(raw_of(person, garment))
    one, other = once.preprocess(raw_of(person, garment)), frame.preprocess({"person": person})
    assert [*other, *one] == [*whole] == ["person", "clothes", "clothes_edge"]
    for name, value in {**one, **other}.items():
        np.testing.assert_array_equal(value, whole[name])
    assert frame.postprocess(outputs_of(person), {"person": person})["tryon"].shape == person.shape


def test_the_drawing_is_the_result(io, person, garment):
    pipeline, raw = Pipeline(io), raw_of(person, garment)
    prediction = pipeline.postprocess(outputs_of(photo(HEIGHT, WIDTH)), raw)
    np.testing.assert_array_equal(np.asarray(pipeline.draw([raw], [prediction])), prediction["tryon"])


def test_the_sheet_shows_how_it_came_about(io, person, garment):
    pipeline, raw = Pipeline(io), raw_of(person, garment)
    prediction = pipeline.postprocess(outputs_of(photo(HEIGHT, WIDTH)), raw)
    sheet = np.asarray(pipeline.sheet([raw, raw], [prediction] * 2, [{"tryon": person}] * 2))
    assert sheet.shape == (2 * HEIGHT + 4, 5 * WIDTH + 16, 3)
    np.testing.assert_array_equal(sheet[:HEIGHT, :WIDTH], person)
    np.testing.assert_array_equal(sheet[:HEIGHT, -WIDTH:], person)
    without = pipeline.sheet([raw], [prediction])
    assert without.size == (4 * WIDTH + 12, HEIGHT)


def test_it_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import edgekd.recipes.tryon.pipeline, edgekd.recipes.tryon.metrics, edgekd.recipes.tryon.wardrobe"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
