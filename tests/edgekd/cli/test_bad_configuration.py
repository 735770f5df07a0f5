"""A configuration, name or option that cannot be used: one message with the nearest match, exit 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[student]\nwidht = 0.5", ("own.toml", "unknown key 'student.widht'", 'did you mean "width"?')),
        ("[studnet]\nwidth = 0.5", ("unknown key 'studnet'", 'did you mean "student"?')),
        ('[student]\nwidth = "half"', ("student.width = 'half'", "valid number")),
        ("[student]\nwidth = -1", ("student.width = -1", "greater than 0")),
        ("[student]\nwidth = nan", ("student.width",)),
        ("[train]\nlearning_rate = inf", ("train.learning_rate", "infinite")),
        ('[teacher]\nuse = "tuogh"', ("teacher.use = 'tuogh'", 'did you mean "tough"?')),
        ("student = 3", ("student = 3",)),
        ("[student\nwidth = 1", ("own.toml is not valid TOML", "line 1")),
        ("a = 1\na = 2", ("own.toml is not valid TOML",)),
        (b"\xff\xfe\x00", ("own.toml is not valid TOML",)),
    ],
)
def test_own_toml_that_cannot_be_used_names_file_key_and_nearest_match(edgekd, tmp_path, text, parts):
    own = tmp_path / "own.toml"
    own.write_bytes(text if isinstance(text, bytes) else text.encode())
    edgekd("distill", "landmarks", "--config", own, "--out", tmp_path / "runs" / "x").says(2, *parts)
    assert list(tmp_path.iterdir()) == [own]


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("student.widht=0.5", ("--set student.widht=0.5", 'did you mean "width"?')),
        ("student.width=wide", ("student.width = 'wide'",)),
        ("student.width", ("is no section.key=value",)),
        ("=1", ("is no section.key=value",)),
        ("seed.x=1", ("seed",)),
        ("data.points=67", ("data.points = 67", "68, 98 or 29")),
        ("train.precision=fp31", ('did you mean "fp32"?',)),
    ],
)
def test_setting_that_cannot_be_used_is_quoted(edgekd, tmp_path, setting, parts):
    edgekd("config", "show", "landmarks", "--set", setting).says(2, *parts)


def test_own_toml_that_is_missing_or_a_folder_is_named(edgekd, tmp_path):
    edgekd("config", "show", "landmarks", "--config", tmp_path / "no.toml").says(2, "no.toml", "No such file")
    edgekd("config", "show", "landmarks", "--config", tmp_path).says(2, str(tmp_path), "directory")


def test_preset_with_an_unknown_key_is_named_as_the_preset(edgekd, tmp_path, monkeypatch):
    from edgekd import config

    broken = tmp_path / "quick.toml"
    broken.write_text("[train]\nepoch = 3\n", encoding="utf-8")
    monkeypatch.setattr(config, "presets", lambda recipe: {"quick": broken})
    edgekd("config", "show", "landmarks", "--preset", "quick").says(2, "preset quick", 'did you mean "epochs"?')


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["distill", "landmrks", "--out", "x"], ("no recipe 'landmrks'", 'did you mean "landmarks"?')),
        (["config", "show", "landmark"], ('did you mean "landmarks"?',)),
        (["distill", "landmarks", "--preset", "quik", "--out", "x"], ("no preset 'quik'", 'did you mean "quick"?')),
        (["verfy", "x"], ("No such command 'verfy'",)),
        (["config"], ("Missing command",)),
        (["distill"], ("Missing argument",)),
        (["list", "recipe"], ("'recipe'", "'recipes'")),
        (["distill", "landmarks", "--out"], ("--out",)),
        (["distill", "landmarks", "--out", "x", "--presset", "quick"], ("--presset",)),
        (["verify", "x", "--threads", "0"], ("--threads",)),
        (["verify", "x", "--threads", "two"], ("--threads",)),
        (["export", "x"], ("there is no run folder x",)),
        (["export"], ("there is no run in runs/",)),
        (["report"], ("nothing to report",)),
        (["inspect", "x"], ("there is no bundle x",)),
        (["verify", "x"], ("there is no bundle x",)),
        (["eval", "x"], ("there is no bundle x",)),
        (["bench", "x"], ("there is no bundle x",)),
        (["predict", "x", "y.png"], ("there is no bundle x",)),
    ],
)
def test_names_and_options_that_are_not_there_are_said_once(edgekd, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    edgekd(*arguments).says(2, *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--target", "openvno"], ("no target 'openvno'", 'did you mean "openvino"?')),
        (["--target", "openvino/defualt"], ("no profile 'defualt'", 'did you mean "default"?')),
        (["--target", "openvino/no.toml"], ("no profile file no.toml",)),
        (["--target", "torch"], ("nothing is built for torch",)),
        (["--target", "openvino", "--precision", "int9"], ("no precision 'int9'", 'did you mean "int8"?')),
        (["--target", "openvino", "--precision", "w4"], ("lists no w4", "int8")),
        ([], ("no target was named",)),
    ],
)
def test_export_refuses_unknown_targets_profiles_and_precisions(edgekd, tiny_run, tmp_path, arguments, parts):
    edgekd("export", tiny_run, *arguments, "--out", tmp_path / "b").says(2, *parts)
    assert list(tmp_path.iterdir()) == []


PROFILE = 'title = "mine"\nprecisions = ["fp32"]\n'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (PROFILE + "precision = 1", ("unknown key 'precision'", 'did you mean "precisions"?')),
        (PROFILE + "[quantisation]\nx = 1", ("unknown key 'quantisation'", 'did you mean "quantization"?')),
        ('title = "mine"', ("precisions is missing",)),
        ('title = "mine"\nprecisions = []', ("at least one",)),
        ('title = "mine"\nprecisions = ["fp32", "fp32"]', ("each once",)),
        ('title = "mine"\nprecisions = ["int9"]', ("precisions.0 = 'int9'", 'did you mean "int8"?')),
        (PROFILE + 'target = "openvino"', ("unknown key 'target'",)),
        ("title = ", ("is not valid TOML",)),
    ],
)
def test_own_profile_that_cannot_be_used_names_file_and_key(edgekd, tiny_run, tmp_path, text, parts):
    own = tmp_path / "mine.toml"
    own.write_text(text, encoding="utf-8")
    ended = edgekd("export", tiny_run, "--target", f"onnxruntime/{own}", "--out", tmp_path / "b")
    ended.says(2, "mine.toml", *parts)
    assert list(tmp_path.iterdir()) == [own]


def test_own_profile_with_runtime_options_nobody_knows_makes_no_bundle(edgekd, tiny_run, tmp_path):
    """Each target stands alone, so one command tells all three."""
    wrong = {"key": "threds = 2", "type": 'threads = "many"', "value": "threads = -2"}
    targets = []
    for name, option in wrong.items():
        own = tmp_path / f"{name}.toml"
        own.write_text(f"{PROFILE}[runtime]\n{option}\n", encoding="utf-8")
        targets += ["--target", f"onnxruntime/{own}"]
    before = sorted(tmp_path.iterdir())
    ended = edgekd("export", tiny_run, *targets, "--out", tmp_path / "b")
    assert ended.code == 2
    for message, part in zip(ended.messages, ("threds", "threads = 'many'", "threads = -2"), strict=True):
        assert message.startswith("error: ")
        assert part in message
        assert "bug" not in message
    assert sorted(tmp_path.iterdir()) == before


def test_bench_refuses_an_unknown_length_and_a_contender_named_twice(edgekd, tiny_bundles, tmp_path):
    bundle, out = tiny_bundles["onnxruntime"], tmp_path / "m"
    edgekd("bench", bundle, "--length", "qick", "--out", out).says(2, "no length 'qick'", "quick")
    edgekd("bench", bundle, bundle, "--out", out).says(2, "named twice")
    assert list(tmp_path.iterdir()) == []


def test_control_without_teachers_is_refused_before_anything_is_written(edgekd, tiny_config, tmp_path):
    out = tmp_path / "runs" / "x"
    edgekd("distill", "landmarks", "--config", tiny_config, "--control", "--out", out).says(2, "--control")
    assert not out.exists()


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", "a b", "ü→"])
def test_strange_folder_names_are_printed_as_they_are(edgekd, tiny_run, copy_of, name):
    ended = edgekd("distill", "landmarks", "--resume", "--out", copy_of(tiny_run, name))
    assert ended.code == 0
    assert name in ended.out
    missing = Path(tiny_run.parent, name, "x")
    edgekd("verify", missing).says(2, name)
