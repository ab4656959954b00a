"""The ordinary call of a layer in training: plain tensors, seen by nobody else, and one kernel each way.

What it computes is what `evenflow.norm.normalize` does. Around a kernel that takes 30 microseconds, what a call asks
and converts is most of the time, so an ordinary one asks as little as can be: what is special takes the long way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from evenflow.kernels import batch_norm as kernels
from evenflow.norm import arrays
from evenflow.norm.formula import Parts
from evenflow.norm.moments import BatchMoments
from evenflow.norm.operators import Gradients, carry_back

_PLAIN = (Tensor, nn.Parameter)


@dataclass(slots=True)
class Ordinary:
    """An ordinary call: its kernel, and the table of the channels once it has run."""

    found: kernels.Normalizer
    eps: float
    activation: str | None
    table: kernels.Table | None = None

    def run(self, parts: Parts) -> Tensor:
        """Normalise, and leave the table."""
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in parts):
            way: Any = _Ordinary.apply
            output: Tensor = way(*parts, self)
            return output
        return self.forward(parts)

    def forward(self, parts: Parts) -> Tensor:
        """Do it."""
        y, self.table = arrays.forward(self.found, parts, None, self.eps)
        return y

    def backward(self, dy: Tensor, parts: Parts, moments: Tensor) -> Gradients:
        """Carry a gradient back."""
        assert self.table is not None
        several = torch._C._functorch.is_legacy_batchedtensor(dy)
        if several or torch.is_grad_enabled() or type(dy) not in _PLAIN or _is_seen():
            return carry_back(dy, parts, moments, (self.eps, self.activation, False))
        return arrays.backward(self.found, dy, parts, self.table, self.eps, given=False)

    def moments(self, x: Tensor) -> BatchMoments:
        """Return the moments of the batch, once it is normalised."""
        assert self.table is not None
        count = x.numel() // x.shape[1]
        mean, variance = kernels.moments_in(self.table)
        variance = variance * (count / (count - 1))
        if x.dtype == torch.float64:
            mean = mean.copy()
        else:
            mean, variance = mean.astype(np.float32), variance.astype(np.float32)
        return BatchMoments(torch.from_numpy(mean), torch.from_numpy(variance), count)


def ordinary(parts: Parts, eps: float, activation: str | None) -> Ordinary | None:
    """Return how a kernel does this call, or None if anything is special about it.

    Args:
        parts: What is normalised, by its own statistics.
        eps: Added to the variance.
        activation: Its name, or None.
    """
    # First of all, as a compiler would make a rule of what is asked of sizes.
    if _is_seen() or parts.x.numel() < kernels.WORTH_LOADING:
        return None
    if any(part is not None and type(part) not in _PLAIN for part in parts):
        return None
    found = arrays.kernel(parts.x, parts.residual, activation)
    return None if found is None else Ordinary(found, eps, activation)


class _Ordinary(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, call: Ordinary
    ) -> Tensor:
        y = call.forward(Parts(x, weight, bias, residual))
        assert call.table is not None
        # The moments too: checkpointing wants the same tensors whichever way a call and its recomputation go.
        ctx.save_for_backward(x, weight, bias, residual, torch.from_numpy(kernels.moments_in(call.table)))
        ctx.call = call
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        *parts, moments = ctx.saved_tensors
        return (*ctx.call.backward(dy, Parts(*parts), moments), None)


def _is_seen() -> bool:
    """Tell whether a compiler, a mode, a tracer or a transform sees this call."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_function_stack() > 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )
