import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.tryon.reading import read_items

RNG = np.random.default_rng(0)


def save(path, size=(60, 40), mode="RGB", alpha=None, seed=0, **options):
    """A picture (height, width), its middle opaque if ``alpha``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode)
    if alpha is not None:
        layer = np.zeros(size, np.uint8)
        layer[10:-10, 8:-8] = alpha
        picture.putalpha(Image.fromarray(layer))
    picture.save(path, **options)
    return path


def edge(path, size=(60, 40), mode="L", value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    layer = np.zeros(size, np.uint8)
    layer[5:-5, 5:-5] = value
    Image.fromarray(layer).convert(mode).save(path)
    return path


@pytest.fixture
def person(tmp_path):
    return save(tmp_path / "person.png", (90, 70))


@pytest.fixture
def garment(tmp_path):
    return save(tmp_path / "garment.png", alpha=255, seed=1)


def read(**inputs):
    return list(read_items({name: str(value) for name, value in inputs.items()}))


def test_a_garments_mask_is_its_transparency(person, garment):
    [(label, raw)] = read(person=person, clothes=garment)
    assert label == "person.png"
    assert raw["person"].shape == (90, 70, 3)
    assert raw["clothes_edge"][30, 20] == 255
    assert raw["clothes_edge"][0, 0] == 0
    assert next(iter(raw)) == "person"


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_an_explicit_mask_may_have_any_mode(tmp_path, person, mode):
    clothes = save(tmp_path / "white.jpg", seed=2)
    [(_, raw)] = read(person=person, clothes=clothes, clothes_edge=edge(tmp_path / "mask.png", mode=mode))
    assert raw["clothes_edge"].shape == (60, 40)
    assert (raw["clothes_edge"] > 127).sum() == 50 * 30


@pytest.mark.parametrize("name", ["white.jpg", "opaque.png"])
def test_a_garment_without_mask_is_refused_with_the_fix(tmp_path, person, name):
    clothes = save(tmp_path / name) if name == "white.jpg" else save(tmp_path / name, mode="RGBA")
    with pytest.raises(InputError, match="has no mask") as caught:
        read(person=person, clothes=clothes)
    assert "clothes_edge=" in caught.value.fix
    assert "transparent" in caught.value.fix


@pytest.mark.parametrize("value", [0, 100])
def test_an_empty_mask_is_refused(tmp_path, person, value):
    clothes = save(tmp_path / "g.jpg")
    with pytest.raises(InputError, match="is empty"):
        read(person=person, clothes=clothes, clothes_edge=edge(tmp_path / "mask.png", value=value))
    with pytest.raises(InputError, match="is empty"):
        read(person=person, clothes=save(tmp_path / "clear.png", alpha=value))


def test_a_mask_of_another_size_is_refused(tmp_path, person):
    with pytest.raises(InputError, match="does not fit"):
        read(person=person, clothes=save(tmp_path / "g.jpg"), clothes_edge=edge(tmp_path / "m.png", (30, 30)))
    with pytest.raises(InputError, match="does not fit"):
        read(person=person, clothes=save(tmp_path / "c.png", alpha=255), mask=edge(tmp_path / "m.png", (30, 30)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK"])
def test_people_of_other_modes_are_read(tmp_path, garment, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    [(_, raw)] = read(person=save(tmp_path / f"p.{suffix}", (80, 50), mode), clothes=garment)
    assert raw["person"].shape == (80, 50, 3)
    assert raw["person"].dtype == np.uint8


def test_a_turned_photograph_stands_upright_with_its_mask(tmp_path, garment):
    exif = Image.Exif()
    exif[0x0112] = 6
    person = save(tmp_path / "p.jpg", (50, 80), exif=exif)
    [(_, raw)] = read(person=person, clothes=garment, mask=edge(tmp_path / "m.png", (80, 50)))
    assert raw["person"].shape == (80, 50, 3)
    assert raw["mask"].shape == (80, 50)


def test_a_box_is_read_and_checked(person, garment):
    [(_, raw)] = read(person=person, clothes=garment, box="1,2,30.5,60")
    np.testing.assert_array_equal(raw["box"], np.float32([1, 2, 30.5, 60]))
    for text, what in (("1,2,3", "is not a box"), ("a,b,c,d", "is not a box"), ("900,0,950,9", "lies outside")):
        with pytest.raises(InputError, match=what):
            read(person=person, clothes=garment, box=text)


def test_many_people_try_one_garment_on(tmp_path, garment):
    for k in range(3):
        save(tmp_path / "people" / f"{k}.png", seed=k)
        edge(tmp_path / "masks" / f"{k}.png")
    items = read(person=tmp_path / "people", clothes=garment, mask=tmp_path / "masks")
    assert [label for label, _ in items] == ["0.png", "1.png", "2.png"]
    assert all("mask" in raw for _, raw in items)
    assert items[0][1]["clothes"] is items[2][1]["clothes"]  # read once


def test_one_person_tries_many_garments_on_each_drawn_by_itself(tmp_path, person):
    for k in range(3):
        save(tmp_path / "clothes" / f"{k}.png", alpha=255, seed=k)
    items = read(person=person, clothes=tmp_path / "clothes")
    assert [label for label, _ in items] == ["person 0.png", "person 1.png", "person 2.png"]
    assert items[0][1]["person"] is not items[1][1]["person"]


def test_two_folders_are_paired_by_name_or_by_a_file(tmp_path):
    for k in range(3):
        save(tmp_path / "people" / f"{k}.jpg", seed=k)
        save(tmp_path / "clothes" / f"{k + 1}.png", alpha=255, seed=10 + k)
    folders = {"person": tmp_path / "people", "clothes": tmp_path / "clothes"}
    assert [label for label, _ in read(**folders)] == ["1.jpg", "2.jpg"]
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("0.jpg 3.png\n\n0.jpg 1.png\n")
    items = read(**folders, pairs=pairs)
    assert [label for label, _ in items] == ["0.jpg", "0.jpg"]
    for text, what in (("0.jpg\n", ":1 is no pair"), ("\n", "holds no pair"), ("0.jpg 9.png\n", "does not exist")):
        pairs.write_text(text)
        with pytest.raises(InputError, match=what):
            read(**folders, pairs=pairs)


def test_folders_without_a_common_name_are_refused(tmp_path):
    save(tmp_path / "people" / "a.jpg")
    save(tmp_path / "clothes" / "b.png", alpha=255)
    with pytest.raises(InputError, match="has the name of one of") as caught:
        read(person=tmp_path / "people", clothes=tmp_path / "clothes")
    assert "pairs=" in caught.value.fix


def test_a_mask_folder_without_a_mask_for_one_names_it(tmp_path, garment):
    save(tmp_path / "people" / "a.jpg")
    edge(tmp_path / "masks" / "b.png")
    with pytest.raises(InputError, match=r"has no mask for a\.jpg"):
        read(person=tmp_path / "people", clothes=garment, mask=tmp_path / "masks")
    with pytest.raises(InputError, match="is one picture for"):
        read(person=tmp_path / "people", clothes=garment, mask=tmp_path / "masks" / "b.png")


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"person": "p.png"}, "missing inputs: clothes"),
        ({"clothes": "c.png"}, "missing inputs: person"),
        ({"person": "p", "clothes": "c", "hat": "h"}, "unknown inputs: hat"),
        ({"person": "nowhere.png", "clothes": "c.png"}, "does not exist"),
    ],
)
def test_what_is_missing_or_unknown_is_named(inputs, what):
    with pytest.raises(InputError, match=what):
        read(**inputs)


def test_pairs_are_for_folders(person, garment, tmp_path):
    (tmp_path / "pairs.txt").write_text("a b\n")
    with pytest.raises(InputError, match="pairs= is for two folders"):
        read(person=person, clothes=garment, pairs=tmp_path / "pairs.txt")


def video(path, frames=3):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for k in range(frames):
            frame = np.full((96, 64, 3), 40 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_videos_frames_share_one_garment(tmp_path, garment):
    items = read(person=video(tmp_path / "v.mp4"), clothes=garment)
    assert [label for label, _ in items] == [f"v.mp4 frame {k}" for k in range(3)]
    assert items[0][1]["clothes"] is items[2][1]["clothes"]
    assert items[0][1]["person"] is not items[1][1]["person"]
    assert items[2][1]["person"].mean() > items[0][1]["person"].mean() + 50


def test_a_video_tries_one_garment_on_and_has_no_mask(tmp_path, garment):
    film = video(tmp_path / "v.mp4")
    for more in ({"clothes": tmp_path}, {"clothes": garment, "mask": garment}):
        with pytest.raises(InputError, match="is a video and"):
            read(person=film, **more)
