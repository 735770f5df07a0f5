from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import edgekd
from edgekd.errors import InputError, MachineError
from edgekd.reporting.report import report

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Elements, attributes, names and addresses of a page; fails on one that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name == "id":
                self.names.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_one_file_holds_everything_and_asks_nobody_for_anything(project):
    result = report(None, "report.html")
    text = Path("report.html").read_text(encoding="utf-8")
    page = Checked(text)
    assert (result["runs"], result["bundles"], result["measurements"]) == (1, 1, 1)
    assert result["not_drawn"] == []
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in page.addresses)
    assert "url(http" not in text
    assert "@import" not in text
    assert text.index("<section") == text.index('<section id="the-road"')
    assert len(page.names) == len(set(page.names))
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.names)
    shown = " ".join(page.text)
    for title in (
        "The road",
        "Claims",
        "Held-out predictions",
        "Gates",
        "Candidates",
        "Precision as built",
        "Latency and memory",
        "Training",
        "Licences and provenance",
        "Machines",
    ):
        assert title in shown, title


def test_nothing_that_a_file_says_becomes_markup(project, make_run, make_bundle):
    hostile = {"sources": [{"source": HOSTILE, "licence": HOSTILE}], "labels": {"teacher": HOSTILE}}
    run = make_run(
        "hostile",
        record={"preset": HOSTILE, "data": hostile, "versions": {HOSTILE: HOSTILE}},
        csv=f'epoch,step,name,value\n0,1,"train/{HOSTILE.replace(chr(34), chr(34) * 2)}",1\n0,1,val/nme,3\n',
    )
    made = make_bundle(
        run,
        "hostile-onnxruntime",
        profile=HOSTILE,
        precision_asked=HOSTILE,
        licences={HOSTILE: HOSTILE},
        candidates=[{"precision": "int8", "outcome": HOSTILE, "why": HOSTILE}],
        edgekd_version=HOSTILE,
        vectors={"samples": 8, "outputs_tolerance": 1e-4, "built_outputs_from": HOSTILE},
    )
    manifest = made / "manifest.json"
    data = json.loads(manifest.read_text())
    data["gates"][0] |= {"arrow": HOSTILE, "where": HOSTILE, "limit": HOSTILE}
    data["placement"] |= {"source": HOSTILE, "precision_by_macs": {HOSTILE: 1.0}}
    data["provenance"]["stages"][0]["name"] = HOSTILE
    manifest.write_text(json.dumps(data))
    report(None, "report.html")
    page = Checked(Path("report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "x" not in page.addresses
    assert HOSTILE in "".join(page.text)  # it is shown, as text


def test_an_existing_page_is_kept_unless_overwriting_was_asked_for(project):
    Path("report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html exists"):
        report(None, "report.html")
    assert Path("report.html").read_text() == "mine"
    report(["measurements"], "report.html", overwrite=True)
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_failure_leaves_no_page(project):
    (project / "measurements/half.json").write_text("{")
    with pytest.raises(InputError, match=r"half\.json"):
        report(None, "report.html")
    assert not Path("report.html").exists()


def test_a_run_alone_and_a_measurement_alone_are_enough(project):
    assert report(["runs"], "run.html")["bundles"] == 0
    result = report(["measurements"], "measured.html")
    assert (result["runs"], result["measurements"], result["claims"]) == (0, 1, {})
    for name in ("run.html", "measured.html"):
        Checked(Path(name).read_text(encoding="utf-8"))


def test_without_matplotlib_nothing_is_written(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib"):
        report(None, "report.html")
    assert not Path("report.html").exists()


def test_a_report_needs_no_torch(project):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgekd.reporting.report import report\n"
        "print(report(None, 'report.html')['not_drawn'])"
    )
    root = str(Path(edgekd.__file__).parents[1])
    path = f"{root}:{root}/targets"
    command, env = [sys.executable, "-c", code], {"PYTHONPATH": path, "PATH": ""}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == "[]", done.stderr
