"""The program: its commands, and what happens when one fails."""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from moduformer import __version__
from moduformer.cli import (
    architecture,
    bench,
    catalog,
    classify,
    course,
    data,
    demo,
    generating,
    planning,
    running,
    training,
    viewing,
)
from moduformer.cli.output import write_any_character
from moduformer.errors import ModuformerError

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Program(TyperGroup):
    """Commands whose expected errors are one paragraph on stderr and a status other than 0, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        write_any_character()
        try:
            return super().invoke(ctx)
        except ModuformerError as error:
            print(f"moduformer: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("moduformer: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output (`head`) has seen enough. Python would complain again when it flushes.
            sys.stdout = None
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            sys.stdout = None  # what is left in it could not be written either
            print(f"moduformer: the output cannot be written: {error.strerror}; free some space", file=sys.stderr)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Program,
    help="Every Transformer in one small library: fine-tune one on your own text, run it, see inside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"moduformer {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Nothing to do before a command."""


app.command("demo")(demo.demo)
app.command("train")(training.train)
app.command("predict")(classify.predict)
app.command("evaluate")(classify.evaluate)
app.command("run")(running.run)
app.command("generate")(generating.generate)
app.command("chat")(generating.chat)
app.command("explore")(data.explore)
app.command("models")(catalog.models)
app.command("show")(architecture.show)
app.command("diff")(architecture.diff)
app.command("convert")(architecture.convert)
app.command("plan")(planning.plan)
app.command("course")(course.course)
app.command("view")(viewing.view)
app.command("heads")(viewing.heads)
app.command("bench", context_settings={"ignore_unknown_options": True})(bench.bench)
