"""Real English text: Python's own help topics, which come with the standard library."""

from functools import cache

import torch
from torch import Tensor

LETTERS = 128


@cache
def text() -> Tensor:
    """The help topics of Python, in the order of their names, as ASCII codes.

    Returns:
        int64 of shape (about 750,000,), values below 128. The text is that of the running Python version.

    Examples:
        >>> codes = text()
        >>> codes.dtype, bool(codes.max() < LETTERS)
        (torch.int64, True)
    """
    from pydoc_data.topics import topics

    joined = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    return torch.frombuffer(bytearray(joined), dtype=torch.uint8).long()


def text_batch(length: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random pieces of the text, and the letter that follows each of theirs.

    Args:
        length: Letters a piece.
        batch: Number of pieces.
        generator: Where the positions are drawn from.

    Returns:
        Inputs and targets, int64 of shape (batch, length).

    Examples:
        >>> inputs, targets = text_batch(8, 2, torch.Generator().manual_seed(0))
        >>> bool((inputs[:, 1:] == targets[:, :-1]).all())
        True
    """
    letters = text()
    starts = torch.randint(len(letters) - length, (batch, 1), generator=generator)
    pieces = letters[starts + torch.arange(length + 1)]
    return pieces[:, :-1], pieces[:, 1:]
