"""`evenflow lab`: claims, measured. One file per command."""

from evenflow.cli.lab.group import lab

__all__ = ["lab"]
