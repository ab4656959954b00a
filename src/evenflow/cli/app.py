"""The `evenflow` command and its subcommands."""

import sys
from typing import Annotated

import typer

from evenflow.cli.check import check_command
from evenflow.cli.demo import demo_command
from evenflow.cli.failure import Commands
from evenflow.cli.init import init_command
from evenflow.cli.lab import lab
from evenflow.cli.plan import plan_command
from evenflow.version import __version__

app = typer.Typer(
    name="evenflow",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check_command)
app.command("plan")(plan_command)
app.command("init")(init_command)
app.command("demo")(demo_command)
app.add_typer(lab, name="lab")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"evenflow {__version__}\n")
        raise typer.Exit


@app.callback()
def _evenflow(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error too; may stand after the command as well.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the signals of a deep network even: diagnose, treat, prove."""


def main() -> None:
    """Run the command line on the arguments of the process, and exit with 0, 1 or 2; see `evenflow check --help`."""
    app()
