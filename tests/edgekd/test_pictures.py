import numpy as np
import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.pictures import crop, folder_pictures, read_cutout, read_labels, read_picture, video_frames

av = pytest.importorskip("av", reason="videos need PyAV (extra video)")


def half_red(height=32, width=48):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 255
    return picture


def write_video(path, pictures):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_exif_orientation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    Image.fromarray(half_red()).save(tmp_path / "p.png", exif=exif)
    picture = read_picture(tmp_path / "p.png")
    assert picture.shape == (48, 32, 3)
    assert picture[5, 16, 0] == 255
    assert picture[40, 16, 0] == 0


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "RGBA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (9, 7), (255, 255, 255)).convert(mode).save(tmp_path / f"p.{suffix}")
    picture = read_picture(tmp_path / f"p.{suffix}")
    assert picture.shape == (7, 9, 3)
    assert picture.dtype == np.uint8
    assert picture.min() > 250


def test_transparency_is_laid_over_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png").min() == 255


def test_a_cutout_keeps_its_alpha_and_any_other_picture_has_none(tmp_path):
    Image.new("RGBA", (4, 6), (9, 8, 7, 100)).save(tmp_path / "cut.png")
    Image.new("RGB", (4, 6)).save(tmp_path / "whole.png")
    picture, alpha = read_cutout(tmp_path / "cut.png")
    assert picture.shape == (6, 4, 3)
    assert alpha is not None
    assert set(alpha.ravel().tolist()) == {100}
    assert read_cutout(tmp_path / "whole.png")[1] is None


def test_labels_are_the_numbers_stored_whatever_the_palette_paints(tmp_path):
    numbers = np.arange(20, dtype=np.uint8).reshape(4, 5)
    painted = Image.fromarray(numbers).convert("P")
    painted.putdata(numbers.ravel().tolist())
    painted.putpalette([200, 10, 10] * 256)
    painted.save(tmp_path / "parse.png")
    assert np.array_equal(read_labels(tmp_path / "parse.png"), numbers)


def test_a_colour_picture_is_no_map_of_labels(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="no map of labels"):
        read_labels(tmp_path / "p.png")


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "p.png")
    assert set(read_picture(tmp_path / "p.png").ravel().tolist()) == {128}


def test_a_text_file_named_jpg_is_refused(tmp_path):
    (tmp_path / "p.jpg").write_text("not a picture")
    with pytest.raises(InputError, match="is not a picture"):
        read_picture(tmp_path / "p.jpg")


def test_a_picture_that_was_cut_off_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "p.jpg")
    content = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "p.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path / "p.jpg")


def test_a_picture_too_large_to_decode_safely_is_refused(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="too large"):
        read_picture(tmp_path / "p.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.png does not exist"):
        read_picture(tmp_path / "none.png")


def test_hidden_files_are_no_pictures_and_a_folder_without_says_what_it_holds(tmp_path):
    (tmp_path / ".hidden.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="of its 2 files"):
        folder_pictures(tmp_path)


def test_frames_come_in_order_with_the_share_read(tmp_path):
    levels = [20, 80, 140, 200]
    write_video(tmp_path / "v.mp4", [np.full((32, 48, 3), v, np.uint8) for v in levels])
    frames = list(video_frames(tmp_path / "v.mp4"))
    assert [p.shape for p, _ in frames] == [(32, 48, 3)] * 4
    np.testing.assert_allclose([p.mean() for p, _ in frames], levels, atol=4)
    assert [share for _, share in frames] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_video_that_a_phone_stored_turned_is_upright(tmp_path):
    write_video(tmp_path / "v.mp4", [half_red()] * 2)
    content = bytearray((tmp_path / "v.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # of the track header box: a quarter turn clockwise when shown
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in turned)
    (tmp_path / "v.mp4").write_bytes(content)
    picture, _ = next(video_frames(tmp_path / "v.mp4"))
    assert picture.shape == (48, 32, 3)
    assert picture[5, 16, 0] > 200
    assert picture[42, 16, 0] < 60


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "v.mp4").write_text("no video" * 100)
    with pytest.raises(InputError, match="cannot be decoded"):
        next(video_frames(tmp_path / "v.mp4"))


def smooth_picture(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def test_a_box_inside_the_picture_equals_pillows_own_box_resize():
    picture, box = smooth_picture(96, 144), (20.5, 10.25, 100.0, 80.75)
    want = np.asarray(Image.fromarray(picture).resize((40, 30), Image.Resampling.BICUBIC, box=box))
    got = crop(picture, np.array(box), (40, 30), "bicubic")
    assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize("box", [(-30, -20, 60, 70), (50, 40, 130, 120), (-40, -40, 200, 200)])
def test_a_box_that_exceeds_the_picture_sees_its_edge_repeated(box):
    picture = smooth_picture(90, 100)
    around = np.pad(picture, ((200, 200), (200, 200), (0, 0)), mode="edge")
    want = np.asarray(Image.fromarray(around).resize((48, 48), Image.Resampling.BILINEAR, box=[v + 200 for v in box]))
    got = crop(picture, np.array(box, np.float32), (48, 48), "bilinear")
    assert np.abs(got.astype(int) - want).max() <= 1


def test_a_mask_is_cropped_as_its_picture_is():
    picture, box = smooth_picture(90, 100), np.array([-10.0, 20.0, 70.0, 95.0])
    one = crop(np.ascontiguousarray(picture[..., 0]), box, (30, 40), "bilinear")
    np.testing.assert_array_equal(one, crop(picture, box, (30, 40), "bilinear")[..., 0])
