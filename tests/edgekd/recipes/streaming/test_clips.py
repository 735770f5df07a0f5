from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.recipes.streaming import clips
from edgekd.recipes.streaming.clips import drawn_clip
from edgekd.recipes.streaming.street import drive


def draw(cache, told=None, number=1):
    return drawn_clip(0, number, 3, (64, 40), cache, lambda what, share: told is not None and told.append(share))


def test_a_street_is_drawn_once_and_read_back_as_it_was_drawn(tmp_path):
    told: list[float] = []
    first = draw(tmp_path, told)
    again = draw(tmp_path, told)
    assert told == pytest.approx([1 / 3, 2 / 3, 1])
    for k, (picture, boxes) in enumerate(drive(0, 1, 3, (64, 40))):
        assert (first.frames[k] == picture).all()
        assert (again.frames[k] == picture).all()
        assert (again.boxes[k] == boxes).all()
    assert again.ids.tolist() == [0, 1, 2]


def test_drawing_that_was_stopped_leaves_nothing_half(tmp_path, monkeypatch):
    def stopped(*_):
        yield next(drive(0, 1, 3, (64, 40)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clips, "drive", stopped)
        with pytest.raises(KeyboardInterrupt):
            draw(tmp_path)
    assert not list(tmp_path.glob("street-*"))
    assert len(draw(tmp_path)) == 3


@pytest.mark.parametrize("name", ["frames.u8", "counts.npy", "meta.json"])
def test_a_cache_that_was_changed_is_refused_with_what_to_delete(tmp_path, name):
    draw(tmp_path)
    (folder,) = tmp_path.glob("street-*")
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(InputError) as error:
        draw(tmp_path)
    assert "was changed" in error.value.what
    assert error.value.fix == f"delete {folder}"


def test_frames_are_mapped_not_read(tmp_path):
    assert isinstance(draw(tmp_path).frames.array, np.memmap)
