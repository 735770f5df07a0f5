"""Building blocks of the page. Text is escaped unless it is ``Html``: a bundle may come from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_STYLE = Path(__file__).with_name("report.css")
# The page asks nobody for anything: the browser refuses scripts and every address outside of the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_VOID = ("meta", "img", "br")


class Html(str):
    """Markup. Every other string is text, and is escaped on its way into an element."""


Child = str | int | float | None | Iterable[Any]


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Html:
    """``<tag attributes>children</tag>``. A name's trailing underscore is dropped (``class_``), others become
    hyphens (``data_label``); None and False leave an attribute out, True gives it no value."""
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        shown = name.rstrip("_").replace("_", "-")
        parts.append(shown if value is True else f'{shown}="{html.escape(str(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening if tag in _VOID else f"{opening}{_inner(children)}</{tag}>")


def _inner(children: Iterable[Any]) -> str:
    found = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            found.append(str(child))
        elif isinstance(child, str):
            found.append(html.escape(child))
        elif isinstance(child, (int, float)):
            found.append(html.escape(str(child)))
        else:
            found.append(_inner(child))
    return "".join(found)


def join(*children: Child) -> Html:
    return Html(_inner(children))


def section(title: str, lead: Child, *children: Child) -> Html:
    """A part of the page, with one sentence on what is seen in it."""
    return element("section", element("h2", title), element("p", lead, class_="lead"), *children, id=anchor(title))


def anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]], numbers: Sequence[str] = ()) -> Html:
    """The first column names the row; those in ``numbers`` are aligned right. On a phone each row is a card."""
    head = [element("th", name, scope="col", class_="n" if name in numbers else None) for name in columns]
    body = []
    for cells in rows:
        shown = []
        for index, (name, cell) in enumerate(zip(columns, cells, strict=True)):
            kind = "n" if name in numbers else None
            if index == 0:
                shown.append(element("th", cell, scope="row", class_=kind))
            else:
                shown.append(element("td", element("div", cell), data_label=name, class_=kind))
        body.append(element("tr", shown))
    return element(
        "div",
        element("table", element("thead", element("tr", head)), element("tbody", body)),
        class_="table",
    )


def note(*children: Child) -> Html:
    return element("p", *children, class_="note")


def badge(text: str, kind: str) -> Html:
    """``kind``: good, bad, mild, faint."""
    return element("span", text, class_=f"badge {kind}")


def folded(summary: Child, *children: Child, unfolded: bool = False) -> Html:
    return element("details", element("summary", summary), *children, open=unfolded)


def figure(picture: Html, caption: Child, *, key: Child = None) -> Html:
    """A plot with its key above and its caption below."""
    return element(
        "figure", element("div", key, class_="key") if key else None, picture, element("figcaption", caption)
    )


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names and values."""
    return element("dl", [(element("dt", name), element("dd", value)) for name, value in pairs], class_="facts")


def page(title: str, subtitle: Child, sections: Sequence[Html], contents: Sequence[str]) -> str:
    """The whole file."""
    links = [element("a", name, href=f"#{anchor(name)}") for name in contents]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    body = element(
        "body",
        element("header", element("h1", title), element("p", subtitle, class_="subtitle"), element("nav", links)),
        element("main", list(sections)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
