"""Options that every verb has, and the two ways results are shown: for people and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads, instead of the profile's number.")]


def print_json(value: Any) -> None:
    """``value``: pydantic models, dataclasses or plain data."""
    text = json.dumps(value, indent=1, default=_plain)
    plain = json.loads(text, parse_constant=lambda constant: None)  # JSON has neither NaN nor infinity
    print(json.dumps(plain, indent=1, allow_nan=False))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, as wide as it needs to be when that is no terminal."""
    from rich.table import Table
    from rich.text import Text

    # Text, not markup: a path may hold [brackets]
    table = Table(title=Text(title, style="bold"), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for cells in rows:
        table.add_row(*map(Text, cells))
    console().print(table)


def say(text: str) -> None:
    console().print(text, markup=False, highlight=False, soft_wrap=True)  # a line that is copied stays one


def console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A bar on standard error where that is a terminal, a line per step where it is not, nothing with -q."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def _lines() -> Callable[[str, float], None]:
    """One line whenever what is done changes; epochs and rounds change it, batches do not."""
    last = ""

    def tell(what: str, share: float) -> None:
        nonlocal last
        if what != last:
            last = what
            print(f"[{share:4.0%}] {what}", file=sys.stderr, flush=True)

    return tell


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
