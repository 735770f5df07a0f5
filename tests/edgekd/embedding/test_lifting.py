"""What is lifted out of modules is their text, in an order in which it runs, with nothing of theirs left to import."""

from __future__ import annotations

import sys

import pytest

from edgekd.embedding.lifting import import_lines, lift, ordered_imports
from edgekd.errors import InputError

LOW = """\
import math

HALF = 0.5  # of one


def area(r):
    return math.pi * r * r * HALF


def other():
    return 1
"""
HIGH = """\
from lifted_from.low import area


class Base:
    def grown(self):
        return 2 * area(self.r)


class Disc(Base):
    'A disc.'

    def __init__(self, r):
        self.r = self._sound(r)

    def _sound(self, r):
        return abs(r)

    def read(self):
        return open(self.path)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """``package({module: text})``: an importable package ``lifted_from``."""

    def make(files):
        folder = tmp_path / "lifted_from"
        folder.mkdir()
        (folder / "__init__.py").write_text("", encoding="utf-8")
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        for name in [n for n in sys.modules if n.startswith("lifted_from")]:
            monkeypatch.delitem(sys.modules, name)

    yield make
    from edgekd.embedding.lifting import source

    source.cache_clear()


def test_a_definition_comes_with_all_that_it_uses_and_nothing_else(package):
    package({"low": LOW, "high": HIGH})
    found = lift([("lifted_from.high", "Disc")], (), ("__init__", "grown"))
    assert "def read" not in found.text
    assert "other" not in found.text
    assert "HALF = 0.5  # of one" in found.text
    scope: dict = {}
    exec(f"{ordered_imports(found.imports)}\n{found.text}", scope)
    assert scope["Disc"](-2.0).grown() == pytest.approx(4 * 3.14159265)


def test_two_definitions_of_one_name_and_a_module_as_a_whole_are_refused(package):
    package({
        "a": "def same():\n    return 1\n",
        "b": "def same():\n    return 2\n\n\ndef use():\n    return same()\n",
        "c": "from lifted_from.a import same\nfrom lifted_from.b import use\nfrom lifted_from import a\n\n\n"
             "def both():\n    return same() + use()\n\n\ndef whole():\n    return a.same()\n",
    })  # fmt: skip
    with pytest.raises(InputError, match="cannot be put into one file"):
        lift([("lifted_from.c", "both")], ())
    with pytest.raises(InputError, match="as a whole"):
        lift([("lifted_from.c", "whole")], ())
    assert "def same" not in lift([("lifted_from.b", "use")], ("same",)).text, "what the app has already"


def test_imports_are_taken_off_and_put_in_order():
    lines, rest = import_lines("import numpy as np\nfrom json import dumps, loads\nimport os\n\nX = 1\n")
    assert rest == "X = 1"
    assert ordered_imports(lines) == "import os\nfrom json import dumps, loads\n\nimport numpy as np"
