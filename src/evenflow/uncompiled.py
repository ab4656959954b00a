"""Functions that `torch.compile` is to call as they are."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """Let `torch.compile` call a function as it is, which works on NumPy's arrays, instead of looking into it.

    `torch.compiler.disable` does so, but imports the compiler, which takes a second. Nothing is compiled before that.
    """
    apart: list[Function] = []

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not apart:
            import torch

            apart.append(torch.compiler.disable(function))
        return apart[0](*args, **kwargs)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]  # what the compiler looks for before it looks inside
    wrapped: Any = call
    return wrapped  # type: ignore[no-any-return]  # it has the type of the function
