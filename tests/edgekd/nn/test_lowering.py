import subprocess
import sys

import pytest
import torch
from torch import nn

from edgekd.errors import InputError
from edgekd.nn.lowering import OPS, Lowerable, known_ops, lower


class Doubled(Lowerable):
    op = "test_doubled"
    FORMS = ("sum", "product")

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.taken.append(self.form)
        return x + x if self.form == "sum" else 2 * x


@pytest.fixture(autouse=True, scope="module")
def the_op_is_gone_afterwards():
    yield
    OPS.pop("test_doubled")


def test_a_lowered_copy_takes_the_named_form_and_the_model_keeps_its_own():
    model = nn.Sequential(Doubled(), nn.Linear(2, 2), nn.Sequential(Doubled()))
    lowered = lower(model, {"test_doubled": "product"})
    x = torch.ones(1, 2)
    assert torch.equal(lowered(x), model(x))
    assert [block.taken for block in (lowered[0], lowered[2][0])] == [["product"]] * 2
    assert [block.taken for block in (model[0], model[2][0])] == [["sum"]] * 2


def test_an_op_that_the_model_has_not_is_fine():
    assert isinstance(lower(nn.Linear(1, 1), {"test_doubled": "product"}), nn.Linear)


def test_all_ops_of_edgekd_are_known_whatever_was_imported():
    assert {"correlation", "warp"} <= set(known_ops())


@pytest.mark.parametrize(
    ("lowerings", "what", "fix"),
    [
        ({"corelation": "shifts"}, "there is no op 'corelation'", 'did you mean "correlation"?'),
        ({"test_doubled": "produkt"}, "test_doubled has no form 'produkt'", 'did you mean "product"?'),
    ],
)
def test_what_edgekd_does_not_know_is_refused_with_the_nearest_name(lowerings, what, fix):
    with pytest.raises(InputError) as caught:
        lower(nn.Identity(), lowerings)
    assert what in caught.value.what
    assert caught.value.fix == fix


def test_one_op_has_one_list_of_forms():
    with pytest.raises(TypeError, match="test_doubled"):
        type("Other", (Lowerable,), {"op": "test_doubled", "FORMS": ("sum",)})


def test_every_profile_names_forms_that_edgekd_knows_before_any_recipe_is_imported():
    code = (
        "from importlib.resources import files\n"
        "from torch import nn\n"
        "from edgekd.nn.lowering import lower\n"
        "from edgekd.registry import profile\n"
        "for file in files('edgekd_targets').glob('*/profiles/*.toml'):\n"
        "    lower(nn.Identity(), profile(f'{file.parents[1].name}/{file.stem}').lowerings)\n"
        "    print(file)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "default.toml" in done.stdout
