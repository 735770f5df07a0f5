"""``edgekd``: a dictionary of verbs to thin functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from edgekd.cli import (
    bench,
    config,
    distill,
    doctor,
    embed,
    evaluate,
    export,
    inspect,
    pack,
    predict,
    rebuild,
    report,
    unpack,
    verify,
)
from edgekd.cli import list as list_
from edgekd.errors import EdgekdError, Exit, MachineError, refused_by_system

VERBS: dict[str, Callable[..., Any]] = {
    "doctor": doctor.doctor,
    "list": list_.list_,
    "distill": distill.distill,
    "export": export.export,
    "verify": verify.verify,
    "inspect": inspect.inspect,
    "eval": evaluate.evaluate,
    "bench": bench.bench,
    "predict": predict.predict,
    "embed": embed.embed,
    "pack": pack.pack,
    "unpack": unpack.unpack,
    "rebuild": rebuild.rebuild,
    "report": report.report,
}

# typer carries click itself or uses an installed one, by version; its own exceptions know which.
_Usage: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="edgekd",
    help="Distil a big teacher into a compact student, put it on real devices, and prove every step.\n\n"
    "recipe --distill--> run --export--> bundle --bench--> measurement --report--> scoreboard\n\n"
    "bundle --embed--> app",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)
app.add_typer(config.app, name="config", help="Shows a recipe's configuration.")


def main() -> None:
    """Runs the command line; every error becomes one message and the right exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without → must not cost the result
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    debug, as_json = "--debug" in arguments, "--json" in arguments
    if not arguments:
        arguments = ["--help"]
    try:
        result = app(arguments, standalone_mode=False)
        if result == Exit.INTERRUPTED:  # typer's answer to Ctrl-C in a verb
            raise KeyboardInterrupt
        return int(result) if isinstance(result, int) else int(Exit.OK)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", "nothing that was already made is harmed", "", Exit.INTERRUPTED, as_json)
    except _Usage as error:
        return _fail(error.format_message(), "", "edgekd VERB --help", Exit.INPUT, as_json)
    except EdgekdError as error:
        if debug:
            traceback.print_exc()
        return _fail(error.what, error.why, error.fix, error.code, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except ModuleNotFoundError as error:
        if debug:
            traceback.print_exc()
        extra = "distill" if arguments[0] in ("distill", "export") else ""
        return _not_installed(error, extra, as_json)
    except (OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        told = refused_by_system(error) if isinstance(error, OSError) else MachineError("there is too little memory")
        return _fail(told.what, told.why, told.fix, told.code, as_json) if told else _bug(error, as_json)
    except Exception as error:  # a bug of ours: said in one line, with the way to see it whole
        if debug:
            traceback.print_exc()
        return _bug(error, as_json)


def _bug(error: Exception, as_json: bool) -> int:
    what = f"a bug in edgekd: {type(error).__name__}: {error}"
    return _fail(what, "", "run it again with --debug and report what it prints", Exit.BUG, as_json)


def _not_installed(error: ModuleNotFoundError, extra: str, as_json: bool) -> int:
    from edgekd.bundle.health import not_installed

    told = not_installed(error, extra)
    return _fail(told.what, told.why, told.fix, told.code, as_json) if told else _bug(error, as_json)


def _fail(what: str, why: str, fix: str, code: Exit, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"what": what, "why": why, "fix": fix, "code": int(code)}}))
    else:
        print(str(EdgekdError(f"error: {what}", why, fix)), file=sys.stderr)
    return int(code)
