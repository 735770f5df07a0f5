from __future__ import annotations

import copy
import json

import pytest
from PIL import Image

from edgekd.errors import InputError
from edgekd.recipes.streaming.classes import CLASSES
from edgekd.recipes.streaming.coco import WHOLE, called, read_coco
from edgekd.recipes.streaming.config import Config
from edgekd.recipes.streaming.data import datasets
from edgekd.recipes.streaming.metrics import ARGOVERSE

SIZE = (32, 20)


def annotated(sequences=2, frames=3, split="val"):
    """In Argoverse-HD's form, images out of order."""
    images = [
        {
            "id": 10 * sid + fid, "width": SIZE[0], "height": SIZE[1], "name": f"{fid}.png", "sid": sid, "fid": fid,
        }
        for sid in range(sequences)
        for fid in range(frames)
    ]  # fmt: skip
    boxes = [
        {"id": k, "image_id": i["id"], "category_id": 102, "bbox": [1 + k, 2, 6, 5], "area": 30, "iscrowd": 0}
        for k, i in enumerate(images)
    ]
    return {
        "images": images[::-1],
        "annotations": boxes,
        "categories": [{"id": 100 + k, "name": name.replace("_", " ").title()} for k, name in enumerate(CLASSES)],
        "sequences": [f"{split}-log{k}" for k in range(sequences)],
        "seq_dirs": [f"{split}/log{k}/ring_front_center" for k in range(sequences)],
    }


def written(folder, data, split="val", root="Argoverse-1.1/tracking", annotations="Argoverse-HD/annotations"):
    file = folder / annotations / f"{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")
    for image in data.get("images", ()):
        if "name" in image and "seq_dirs" in data and "sid" in image and 0 <= image["sid"] < len(data["seq_dirs"]):
            path = folder / root / data["seq_dirs"][image["sid"]] / image["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE, (20 * image["fid"],) * 3).save(path)
    return folder


@pytest.mark.parametrize(
    "layout",
    [{}, {"root": "Argoverse-1.1/images"}, {"root": "images", "annotations": "annotations"}, {"root": "."}],
)
def test_sequences_are_in_order_with_their_frames_and_boxes(tmp_path, layout):
    found = read_coco(written(tmp_path, annotated(), **layout), "val", 30.0)
    assert [clip.number for clip in found.clips] == [0, 1]
    assert [clip.ids.tolist() for clip in found.clips] == [[0, 1, 2]] * 2
    assert [int(found.clips[1].frames[k][0, 0, 0]) for k in range(3)] == [0, 20, 40]
    assert found.clips[1].boxes[2].tolist() == [[2, 6, 2, 12, 7]]
    assert found.notes == {}


def test_a_set_of_videos_without_folders_is_read_too(tmp_path):
    data = annotated(1)
    del data["seq_dirs"], data["sequences"]
    for image in data["images"]:
        image["video_id"], image["frame_id"] = image.pop("sid") + 7, image.pop("fid")
        image["file_name"] = f"a/{image.pop('name')}"
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE).save(tmp_path / "images" / image["file_name"])
    (clip,) = read_coco(written(tmp_path, data, annotations="annotations"), "val", 25.0).clips
    assert (clip.number, len(clip), clip.fps) == (7, 3, 25.0)


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path):
    data = annotated(1)
    data["categories"].append({"id": 200, "name": "Train"})
    odd = {"image_id": 0, "category_id": 100}
    data["annotations"] += [
        {**odd, "bbox": [0, 0, 5, 5], "category_id": 200},
        {**odd, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {**odd, "bbox": [40, 0, 5, 5]},
        {**odd, "bbox": [4, 4, 0, 5]},
        {**odd, "bbox": [-3, 15, 10, 10]},
    ]
    data["images"] = [i for i in data["images"] if i["fid"] != 1]
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 1]
    found = read_coco(written(tmp_path, data), "val", 30.0)
    assert found.clips[0].boxes[0].tolist() == [[2, 1, 2, 7, 7], [0, 0, 15, 7, 20]]
    assert found.notes == {
        "left out: train": 1,
        "left out: crowds": 1,
        "left out: boxes without area in the picture": 2,
        "cut off at the picture's edge": 1,
        "gaps in frame numbers": 1,
    }


def changed(**parts):
    def change(data):
        for name, value in parts.items():
            data["images"][0][name] = value

    return change


def annotation(**parts):
    return lambda data: data["annotations"][0].update(parts)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (changed(width=64), ("sequence val-log1 changes size", "2.png 64x20")),
        (changed(fid=1), ("frame 1 of sequence val-log1 is there twice",)),
        (changed(id=0), ("two images have one id",)),
        (changed(sid=5), ("is of sequence 5", "seq_dirs has 2 entries")),
        (changed(name="../../../../x.png"), ("is outside of the set",)),
        (changed(width=0), ("images.0.width",)),
        (annotation(image_id=77), ("annotations[0] is of image 77",)),
        (annotation(category_id=77), ("annotations[0] has category 77", "its categories are 100, 101")),
        (annotation(bbox=[1, 2, 3]), ("annotations.0.bbox",)),
        (lambda data: data["annotations"].clear(), ("has no boxes", "none of its 0 annotations")),
        (lambda data: data.update(categories=[{"id": 102, "name": "cars"}]), ("none of the eight", '"car"')),
        (lambda data: data["images"][0].pop("sid"), ("is damaged", "images.0.sid")),
        (lambda data: data.pop("images"), ("is damaged", "images")),
    ],
)  # fmt: skip
def test_what_would_make_labels_wrong_is_one_message(tmp_path, change, parts):
    data = copy.deepcopy(annotated())
    change(data)
    with pytest.raises(InputError) as error:
        read_coco(written(tmp_path, data), "val", 30.0)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    folder = written(tmp_path, annotated())
    gone = folder / "Argoverse-1.1/tracking/val/log0/ring_front_center/1.png"
    gone.unlink()
    with pytest.raises(InputError) as error:
        read_coco(folder, "val", 30.0)
    assert "1 of the 6 frames" in error.value.what
    assert str(gone) in error.value.why
    with pytest.raises(InputError, match="has no train half"):
        read_coco(folder, "train", 30.0)


def test_a_file_that_is_not_what_is_annotated_is_named_when_it_is_read(tmp_path):
    folder = written(tmp_path, annotated())
    found = read_coco(folder, "val", 30.0)
    Image.new("RGB", (16, 16)).save(found.clips[0].frames.paths[2])
    with pytest.raises(InputError, match="is 16x16 px"):
        found.clips[0].frames[2]


def test_a_set_becomes_train_val_and_test_with_its_licence(tmp_path):
    written(tmp_path, annotated(3, split="train"), "train")
    written(tmp_path, annotated(), "val")
    config = Config(
        data={"source": (f"argoverse:{tmp_path}",), "val": 1}, student={"input_width": 32, "input_height": 32}
    )
    found = datasets(config, tmp_path / "cache", lambda *_: None)
    assert [len(own) for own in (found.train, found.val, found.test)] == [6, 2, 4]
    batch = found.train.batch([(0, 0)])
    assert batch["next_frame"][0, 0, 0, 0] == 20
    source = found.provenance["sources"][0]
    assert "CC BY-NC-SA" in source["licence"]
    assert source["source"].startswith(f"{ARGOVERSE} in part (9 of {WHOLE[0]} training and 6 of")
    first = found.test.fingerprint
    assert found.test.fingerprint == first
    Image.new("RGB", SIZE, (1, 2, 3)).save(found.test.clips[0].frames.paths[0])
    again = datasets(config, tmp_path / "cache", lambda *_: None)
    assert again.train.fingerprint == found.train.fingerprint
    assert again.test.fingerprint != first


def test_only_the_whole_set_has_its_name():
    class Half:
        def __init__(self, frames):
            self.clips = [range(frames)]

    assert called("argoverse", Half(WHOLE[0]), Half(WHOLE[1])) == ARGOVERSE
    assert called("coco", Half(WHOLE[0]), Half(WHOLE[1])) == "coco"


def test_one_training_sequence_or_shared_frames_are_refused(tmp_path):
    written(tmp_path, annotated(1, split="train"), "train")
    written(tmp_path, annotated(), "val")
    config = Config(data={"source": (f"coco:{tmp_path}",)})
    with pytest.raises(InputError, match="too few sequences"):
        datasets(config, tmp_path, lambda *_: None)
    written(tmp_path, annotated(2), "train")
    with pytest.raises(InputError, match="train and val share 6 frames"):
        datasets(config, tmp_path, lambda *_: None)
