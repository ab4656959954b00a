"""How the command line fails: one message, what to do, and an exit code that says whose fault it was."""

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from evenflow.cli.output import say
from evenflow.errors import EvenflowError, LossError, ModelError

CALLED_WRONGLY = 2
# As a shell reports a program that was ended by SIGINT (2) and by SIGPIPE (13).
INTERRUPTED, READER_GONE = 128 + 2, 128 + 13

DEBUG = "--debug"
HINTS: dict[type[Exception], str] = {
    ModelError: (
        "--data FILE.py:NAME checks the model on a batch of yours; the built-in digits have shape (N, 64), "
        "digits-images (N, 1, 8, 8)"
    ),
    LossError: "--loss takes the name of a function in torch.nn.functional, such as mse_loss, or FILE.py:NAME",
}


class Commands(TyperGroup):
    """A group of commands that fails in one message, and takes `--debug` anywhere on the line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move `--debug`, an option of the group, before the command."""
        return super().parse_args(ctx, sorted(args, key=DEBUG.__ne__))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors that evenflow knows and those of the file system are told in one message.

        Raises:
            typer.Exit: With 2 for such an error, 130 when interrupted, 141 when nobody reads the output any more.
        """
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(READER_GONE) from None
        except (EvenflowError, OSError) as error:
            if ctx.params["debug"]:
                traceback.print_exception(error)
            _tell(error, debug=ctx.params["debug"])
            raise typer.Exit(CALLED_WRONGLY) from None


def _tell(error: Exception, *, debug: bool) -> None:
    say("error", "bold red", str(error) or type(error).__name__)
    if type(error) in HINTS:
        say("hint", "bold blue", HINTS[type(error)])
    if error.__cause__ is not None and not debug:
        say("hint", "bold blue", f"{DEBUG} shows the traceback")


def _discard_output() -> None:
    """Send what is still buffered nowhere, or Python would complain about the closed pipe while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
