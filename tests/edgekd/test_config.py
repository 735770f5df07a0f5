import pytest

from edgekd import config
from edgekd.errors import InputError
from edgekd.recipes.landmarks.config import Config


def own_file(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_later_layers_win_key_by_key(tmp_path):
    file = own_file(tmp_path, "[student]\nwidth = 0.75\n[train]\nepochs = 5\n")
    found = config.resolve("landmarks", "quick", file, ["student.width=0.3"])
    assert found.student.width == 0.3  # --set over file and preset
    assert found.train.epochs == 5  # file over preset
    assert found.student.input_size == 64  # the preset's, untouched by sections that others set keys of
    assert found.augment.factor == 1  # the default


def test_the_last_setting_of_a_key_wins():
    assert config.resolve("landmarks", settings=["seed=1", "seed=2"]).seed == 2


def test_without_layers_it_is_the_recipes_default():
    assert config.resolve("landmarks") == Config()


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("train.learning_rate=3e-4", ("train", "learning_rate"), 3e-4),
        ('data.source=["images:a b", "video:c"]', ("data", "source"), ("images:a b", "video:c")),
        ("teacher.use=tough", ("teacher", "use"), "tough"),
        ("student.init=a=b.pt", ("student", "init"), "a=b.pt"),
    ],
)
def test_settings_are_toml_or_else_plain_text(setting, key, value):
    found = config.resolve("landmarks", settings=[setting])
    for part in key:
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "student.widht=0.5",
            r"--set student\.widht=0\.5: unknown key 'student\.widht'(.|\n)*did you mean \"width\"\?",
        ),
        ("studnet.width=0.5", r"unknown key 'studnet'(.|\n)*did you mean \"student\"\?"),
        ("seed.deep=1", r"seed = .* cannot be used"),
        ("student.width=-1", r"student\.width = -1 cannot be used"),
        ("student.width", r"is no section\.key=value"),
        ("=1", r"is no section\.key=value"),
    ],
)
def test_a_setting_that_cannot_be_used_names_its_key_and_the_nearest(setting, message):
    with pytest.raises(InputError, match=message):
        config.resolve("landmarks", settings=[setting])


def test_a_key_of_the_users_file_is_named_with_the_file(tmp_path):
    file = own_file(tmp_path, "[train]\nepoch = 3\n")
    with pytest.raises(InputError, match=r"own\.toml: unknown key 'train\.epoch'(.|\n)*did you mean \"epochs\"\?"):
        config.resolve("landmarks", file=file)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match=r"no preset 'quik'(.|\n)*did you mean \"quick\"\?"):
        config.resolve("landmarks", "quik")


def test_a_config_is_written_and_read_without_loss(tmp_path):
    settings = ["seed=7", 'data.source=["images:a \\"quoted\\" ünï"]', "train.learning_rate=1e-05", "loss.hard=l1"]
    before = config.resolve("landmarks", "quick", settings=settings)
    file = own_file(tmp_path, config.dump(before))
    assert config.resolve("landmarks", file=file) == before


def test_a_recorded_config_that_the_recipe_no_longer_knows_is_refused():
    recorded = config.resolve("landmarks").model_dump(mode="json")
    assert config.restore("landmarks", recorded, "runs/a") == config.resolve("landmarks")
    recorded["student"]["depth"] = 2
    with pytest.raises(InputError, match=r"runs/a: unknown key 'student\.depth'"):
        config.restore("landmarks", recorded, "runs/a")


def test_keys_are_known_by_their_path(line):
    assert config.has_key("landmarks", "data.source")
    assert config.has_key("landmarks", "seed")
    assert not config.has_key("landmarks", "data.sources")
    assert not config.has_key(line, "data.source")
    assert not config.has_key(line, "teacher.black_box")  # its teacher is a word, not a section
