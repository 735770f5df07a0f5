"""Pictures and videos: uint8 RGB, or one message; within bounds, and from that file alone."""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import pictures
from strategies.documents import broken
from strategies.outcome import loaded, only_within

from edgekd import pictures as sources
from edgekd.cli.main import run as edgekd
from edgekd.errors import EdgekdError
from edgekd.pictures import read_picture, video_frames


def rgb(picture):
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.size
    return picture


@given(content=pictures.sound())
def test_every_sound_picture_but_one_of_no_rgb_is_read(content, folder):
    file = folder / "a"
    file.write_bytes(content)
    with only_within(folder):
        found = loaded(lambda: rgb(read_picture(file)))
    if isinstance(found, EdgekdError):
        assert Image.open(io.BytesIO(content)).mode == "LAB", found


@given(data=st.data())
def test_a_broken_picture_is_read_or_refused(data, folder):
    file = folder / "a.png"
    file.write_bytes(data.draw(broken(data.draw(pictures.sound()))))
    with only_within(folder):
        loaded(lambda: rgb(read_picture(file)))


@given(content=st.binary(max_size=300))
def test_any_bytes_are_no_picture(content, folder):
    (folder / "a.png").write_bytes(content)
    loaded(lambda: rgb(read_picture(folder / "a.png")))


@pytest.mark.parametrize(
    ("width", "height"),
    [(0, 0), (0, 5), (5, 0), (2**31 - 1, 2**31 - 1), (65500, 65500), (12_000, 12_000), (100_000_001, 1)],
)
def test_a_picture_of_no_pixels_or_too_many_is_refused_before_it_is_decoded(folder, width, height):
    (folder / "a.png").write_bytes(pictures.png(width, height))
    assert isinstance(loaded(lambda: read_picture(folder / "a.png")), EdgekdError)


@pytest.mark.parametrize("name", sorted(pictures.OTHER_FORMATS))
def test_formats_whose_readers_start_programs_are_none_of_ours(folder, name, monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "check_call", lambda *command, **options: ran.append(command))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs", raising=False)
    file = folder / "a.png"
    file.write_bytes(pictures.OTHER_FORMATS[name])
    error = loaded(lambda: read_picture(file))
    assert isinstance(error, EdgekdError)
    assert "is not a picture" in error.what
    assert not ran


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_stands_upright_also_where_its_other_notes_are_broken(folder, orientation):
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    how = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera held so has done to it (Image.Transpose)
    stored = Image.fromarray(upright)
    if orientation in how:
        stored = stored.transpose(Image.Transpose(how[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(folder / "a.png", exif=exif)
    assert np.array_equal(read_picture(folder / "a.png"), upright)
    exif[0x8298] = "a copyright"
    content = exif.tobytes().replace(b"a copyright", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff")
    stored.save(folder / "b.png", exif=content)
    assert np.array_equal(read_picture(folder / "b.png"), upright)


def test_a_path_that_no_system_takes_is_refused(folder):
    assert isinstance(loaded(lambda: read_picture(folder / ("a" * 5000))), EdgekdError)


def write_video(path, codec, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade * 40, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, "h264", 5)
    return path


def frames(path):
    return [rgb(picture) for picture, _ in itertools.islice(video_frames(path), 20)]


@given(data=st.data())
def test_a_broken_video_gives_frames_and_then_perhaps_one_message(data, folder, video):
    (folder / "a.mp4").write_bytes(data.draw(broken(video.read_bytes())))
    loaded(lambda: frames(folder / "a.mp4"))


@given(content=st.binary(max_size=300))
def test_any_bytes_are_no_video(content, folder):
    (folder / "a.mp4").write_bytes(content)
    assert isinstance(loaded(lambda: frames(folder / "a.mp4")), EdgekdError)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "ffconcat version 1.0\nfile {other}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{other}</BaseURL></Period></MPD>',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_a_playlist_in_a_videos_clothes_opens_no_other_file(folder, video, playlist):
    other = shutil.copyfile(video, folder / "other.mp4")
    for name in ("a.mp4", "a.avi"):
        (folder / name).write_text(playlist.format(other=other), encoding="utf-8")
        assert isinstance(loaded(lambda name=name: frames(folder / name)), EdgekdError)


def test_a_sound_video_is_read_in_every_container_of_ours(folder):
    for suffix in sorted(sources.VIDEO_SUFFIXES - {".webm"}):  # webm takes no h264
        path = folder / f"a{suffix}"
        write_video(path, "mpeg2video" if suffix in (".mpg", ".mpeg") else "mpeg4", 25)
        assert frames(path), suffix


def test_the_command_line_says_one_message_for_a_bomb(folder, tiny_bundles, capfd):
    (folder / "a.png").write_bytes(pictures.png(60_000, 60_000))
    assert (
        edgekd(["predict", str(tiny_bundles["onnxruntime"]), str(folder / "a.png"), "--out", str(folder / "o.png")])
        == 2
    )
    err = capfd.readouterr().err
    assert err.count("error: ") == 1
    assert "too large" in err
    assert not (folder / "o.png").exists()
