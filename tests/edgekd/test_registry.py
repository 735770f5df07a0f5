import json
import subprocess
import sys

import pytest

from edgekd import registry
from edgekd.cli.main import run as edgekd
from edgekd.contracts import Precision
from edgekd.errors import InputError, MachineError

OWN_PROFILE = 'title = "my board"\nprecisions = ["fp32"]\n[runtime]\nthreads = 3\n'


def test_listing_imports_no_code_of_recipes_or_targets():
    program = "import sys, edgekd.registry as r; r.recipes(); r.targets(); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "'edgekd.recipes.landmarks.recipe'" not in out
    assert "'torch'" not in out
    assert "'onnxruntime'" not in out


def test_every_built_in_target_has_a_default_profile_that_binds():
    assert set(registry.targets()) >= {"onnxruntime", "openvino", "torch"}
    for target in registry.targets():
        named = registry.target_entry(target).facts.get("default_profile", "default")
        assert registry.profile(target).name == named
        for name in registry.profiles(target):
            assert registry.profile(f"{target}/{name}").target == target


# --- other people's packages


def test_a_target_from_another_package_is_listed_with_its_profiles(install, capsys):
    install("[edgekd.targets]\necho = edgekd_echo\n")
    assert edgekd(["list", "targets", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["echo"]["package"] == "edgekd_echo"
    assert registry.profile("echo").precisions == (Precision.FP32,)
    assert registry.runtime("echo").probe().why == "it is only an echo"
    with pytest.raises(InputError, match="nothing is built for echo"):
        registry.builder("echo")


def test_a_name_that_two_packages_offer_is_refused(install):
    install("[edgekd.recipes]\nlandmarks = edgekd_line\n")
    with pytest.raises(InputError, match=r"two packages offer the recipe landmarks(.|\n)*edgekd_line"):
        registry.recipes()


@pytest.mark.parametrize(
    "value", ["edgekd_nowhere", "edgekd_nowhere.inside", "json.decoder", "edgekd_line.recipe:Recipe"]
)
def test_an_entry_point_that_names_no_package_is_refused_with_its_distribution(install, value):
    install(f"[edgekd.recipes]\nlost = {value}\n")
    with pytest.raises(InputError, match=r"the entry point lost = .* names no package(.|\n)*someone0"):
        registry.recipes()


def test_a_package_that_lacks_a_part_of_the_shape_is_not_taken_for_a_missing_install(install, tmp_path):
    folder = tmp_path / "packages" / "edgekd_halfway"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "recipe.toml").write_text('title = "half"\nstudent = "none"\n')
    (folder / "recipe.py").write_text("import a_module_nobody_has\n")
    install("[edgekd.recipes]\nhalf = edgekd_halfway\n", folder.parent)
    with pytest.raises(InputError, match=r"there is no edgekd_halfway\.config"):
        registry.recipe_part("half", "config")
    with pytest.raises(MachineError, match="a_module_nobody_has is not installed"):
        registry.recipe_part("half", "recipe")


# --- names


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: registry.recipe_entry("landmark"), r"no recipe 'landmark'(.|\n)*did you mean \"landmarks\"\?"),
        (lambda: registry.target_entry("openvin"), r"no target 'openvin'(.|\n)*did you mean \"openvino\"\?"),
        (lambda: registry.profile("torch/compil"), r"torch has no profile 'compil'(.|\n)*did you mean \"compile\"\?"),
        (lambda: registry.profile("nowhere/default"), r"no target 'nowhere'"),
        (lambda: registry.profile("openvino/none.toml"), r"no profile file none\.toml(.|\n)*default"),
    ],
)
def test_unknown_names_get_their_nearest_match(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_profile_of_ones_own_is_a_path_after_the_target(tmp_path, monkeypatch, absolute):
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.toml").write_text(OWN_PROFILE)
    monkeypatch.chdir(tmp_path)
    found = registry.profile(f"openvino/{tmp_path / 'boards/mine.toml' if absolute else 'boards/mine.toml'}")
    assert (found.name, found.target, found.title, found.runtime) == ("mine", "openvino", "my board", {"threads": 3})


def test_an_unknown_key_of_ones_own_profile_is_named(tmp_path):
    (tmp_path / "mine.toml").write_text(OWN_PROFILE.replace("precisions", "precision"))
    with pytest.raises(InputError, match=r"mine\.toml: (unknown key 'precision'|precisions is missing)"):
        registry.profile(f"openvino/{tmp_path / 'mine.toml'}")


def test_several_ways_to_place_int8_each_need_a_name(tmp_path):
    way = '\n[[quantization]]\nrecipe = "nncf"\n'
    (tmp_path / "one.toml").write_text(OWN_PROFILE + way)
    assert registry.profile(f"openvino/{tmp_path / 'one.toml'}").way == {"recipe": "nncf"}
    (tmp_path / "two.toml").write_text(OWN_PROFILE + way + way)
    with pytest.raises(InputError, match="quantization"):
        registry.profile(f"openvino/{tmp_path / 'two.toml'}")
