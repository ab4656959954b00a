"""The group of commands."""

import typer

from evenflow.cli.lab.export import export_command
from evenflow.cli.lab.list import list_command
from evenflow.cli.lab.report import report_command
from evenflow.cli.lab.run import run_command
from evenflow.cli.lab.status import status_command

lab = typer.Typer(help="Measure claims about initialisation, normalisation and clipping.", no_args_is_help=True)
lab.command("list")(list_command)
lab.command("run")(run_command)
lab.command("status")(status_command)
lab.command("report")(report_command)
lab.command("export")(export_command)
