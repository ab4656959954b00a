"""The command line, one file per command."""

from evenflow.cli.app import main

__all__ = ["main"]
