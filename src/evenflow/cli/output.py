"""Standard output and standard error, as every command writes to them."""

from pathlib import Path

from rich.console import Console
from rich.text import Text


class Output(Console):
    """Standard output; a reader that has gone raises BrokenPipeError, whatever the format, and is dealt with once."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Raise again what Rich would turn into exit code 1, which means a sick model here."""
        raise BrokenPipeError


def say(label: str, style: str, message: str) -> None:
    """Write one line to standard error, however long, so that it can be searched and copied."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble((f"{label}: ", style), message))


def say_where(path: Path) -> None:
    """Tell where a report was written."""
    say("report", "bold", str(path.resolve()))
