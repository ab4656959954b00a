"""The `evenflow` command: its subcommands, and how it fails."""

import sys
import traceback
from typing import Annotated

import typer
from rich.console import Console

from evenflow.cli.check import check_command
from evenflow.cli.demo import demo_command
from evenflow.errors import EvenflowError
from evenflow.version import __version__

CALLED_WRONGLY = 2

app = typer.Typer(
    name="evenflow",
    help="Keep the signals of a deep network even: diagnose, treat, prove.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check_command)
app.command("demo")(demo_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"evenflow {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the signals of a deep network even: diagnose, treat, prove."""


def main() -> None:
    """Run the command line. Errors that evenflow knows are told in one message, with exit code 2.

    `--debug` anywhere on the line shows the traceback too.
    """
    debug = "--debug" in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except (EvenflowError, OSError) as error:
        if debug:
            traceback.print_exception(error)
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {_escaped(error)}")
        raise SystemExit(CALLED_WRONGLY) from None


def _escaped(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error) or type(error).__name__)
