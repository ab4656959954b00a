"""Where the random numbers of an initialisation come from."""

import torch

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random import Stream


def check_source(generator: object, stream: object) -> None:
    """Refuse sources of the wrong type, and two at once.

    Raises:
        ParameterTypeError: `generator` is no `torch.Generator` or `stream` no `Stream`.
        ParameterValueError: Both are given.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ParameterTypeError(f"generator must be a torch.Generator or None; got {type(generator).__name__}")
    if stream is not None and not isinstance(stream, Stream):
        raise ParameterTypeError(f"stream must be an evenflow.random.Stream or None; got {type(stream).__name__}")
    if generator is not None and stream is not None:
        raise ParameterValueError("generator and stream exclude each other; pass one of them")


def as_stream(generator: torch.Generator | None, stream: Stream | None) -> Stream:
    """Return the stream, or else one whose key is drawn from the generator, by default torch's for the CPU.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> first, second = as_stream(None, None), as_stream(None, None)
        >>> _ = torch.manual_seed(0)
        >>> first == as_stream(None, None), first == second
        (True, False)
    """
    if stream is not None:
        return stream
    device = "cpu" if generator is None else generator.device
    halves = torch.randint(2**32, (2,), generator=generator, device=device, dtype=torch.int64)
    low, high = halves.tolist()
    return Stream.from_key(high << 32 | low)
