"""Real data that is there without a download."""

from evenflow.data.digits import Split, digits, digits_batch
from evenflow.data.mnist import mnist
from evenflow.data.named import BUILT_IN, built_in
from evenflow.data.split_file import read_split, write_split
from evenflow.data.text import LETTERS, text, text_batch

__all__ = [
    "BUILT_IN",
    "LETTERS",
    "Split",
    "built_in",
    "digits",
    "digits_batch",
    "mnist",
    "read_split",
    "text",
    "text_batch",
    "write_split",
]
