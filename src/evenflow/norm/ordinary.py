"""The ordinary call of a layer: plain tensors, seen by nobody else, and one kernel each way.

What it computes is what `evenflow.norm.normalize` and the layer's tracking do. Around a kernel that takes 30
microseconds, what a call asks and converts is most of the time, the more so as the arrays have swept Python out of the
cache. So an ordinary call asks as little as can be, and what is special takes the long way.
"""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from evenflow.kernels import batch_norm as kernels
from evenflow.norm import arrays
from evenflow.norm.activations import ACTIVATIONS, activate
from evenflow.norm.formula import Parts
from evenflow.norm.moments import BatchMoments
from evenflow.norm.normalize import TOLERANCE, batch_error, statistics_dtype
from evenflow.norm.operators import Gradients, carry_back
from evenflow.norm.sharing import current_seat

_PLAIN = (Tensor, nn.Parameter)
# A name is found faster than a path of names.
_functions, _modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_transforms, _tracer = torch._C._functorch.peek_interpreter_stack, torch._C._get_tracing_state
_backward_pass, _moved = torch._C._current_graph_task_id, torch.autograd.graph.increment_version
_NO_PASS = -1
_MISSING: Any = object()


class Layer(Protocol):
    """What is asked of a layer; see `EvenBatchNorm`."""

    num_features: int
    eps: float
    momentum: float | None
    track_running_stats: bool
    training: bool
    activation: str | None
    inplace: bool
    frozen: bool
    accumulate: int
    on_nonfinite: str
    running_variance: str
    statistics_dtype: torch.dtype | None
    shared_calls: Any
    _parameters: dict[str, nn.Parameter | None]
    _buffers: dict[str, Tensor | None]
    _allowed_dims: ClassVar[tuple[int, ...] | None]


def run_ordinary(layer: Layer, x: Tensor, residual: Tensor | None, activation: str | None) -> Tensor | None:
    """Normalise and move the running statistics, or return None and leave all as it is.

    Args:
        layer: Its class has no methods of its own but those of `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`.
        x: The batch; not checked yet.
        residual: Added to the normalised batch, before the activation; not checked either.
        activation: The name for this call; None leaves it to the layer.
    """
    # First of all, as a compiler would make a rule of what is asked of sizes.
    if _is_seen() or not _fits(layer, x):
        return None
    # A parametrisation has put something else there, which is not plain either.
    weight, bias = layer._parameters.get("weight", _MISSING), layer._parameters.get("bias", _MISSING)
    if not (_is_plain(weight) and _is_plain(bias) and _is_plain(residual)):
        return None
    parts, name = Parts(x, weight, bias, residual), layer.activation if activation is None else activation
    return _by_batch(layer, parts, name) if layer.training else _by_population(layer, parts, name)


def _by_population(layer: Layer, parts: Parts, activation: str | None) -> Tensor | None:
    """Normalise by the running statistics, where no gradient is wanted."""
    if torch.is_grad_enabled():
        return None
    running = _running(layer, parts.x)
    found = None if running is None else arrays.kernel(parts, activation)
    if running is None or found is None:
        return None
    return arrays.evaluate(found, parts, running, layer.eps)


def _by_batch(layer: Layer, parts: Parts, activation: str | None) -> Tensor | None:
    if not _is_plain_training(layer):
        return None
    running = None
    if layer.track_running_stats and _backward_pass() == _NO_PASS:
        running = _running(layer, parts.x)
        if running is None:
            return None
    by = _by_torch if parts.x.numel() < kernels.WORTH_LOADING else _by_kernel
    return by(parts, layer.eps, activation, running)


def _by_kernel(parts: Parts, eps: float, activation: str | None, running: arrays.Running | None) -> Tensor | None:
    found = arrays.kernel(parts, activation)
    if found is None:
        return None
    if torch.is_grad_enabled():
        if _is_of_inference(parts):
            return None
        output: Tensor = _Ordinary.way(*parts, found, eps, activation, running)
    else:
        output, _ = arrays.forward(found, parts, None, eps, running=running)
    if running is not None:
        _moved([moved for moved in running[:3] if moved is not None])
    return output


def _by_torch(parts: Parts, eps: float, activation: str | None, running: arrays.Running | None) -> Tensor | None:
    """Let torch's kernel normalise a small batch, if it does that well; buffers of zero get the moments."""
    x, weight, bias, residual = parts
    kind = x.dtype
    if not x.is_cpu or kind not in arrays.EXACT or (activation is not None and activation not in ACTIVATIONS):
        return None
    if any(part is not None and part.dtype is not kind for part in (weight, bias, residual)):
        return None
    if residual is not None and residual.shape != x.shape:
        return None
    mean, variance = torch.zeros(x.shape[1], dtype=kind), torch.zeros(x.shape[1], dtype=kind)
    output = torch.batch_norm(x, weight, bias, mean, variance, True, 1.0, eps, False)
    if batch_error(x, BatchMoments(mean, variance, x.numel() // x.shape[1]), eps) > TOLERANCE:
        return None
    output = activate(activation, output if residual is None else output + residual)
    if running is not None:
        torch._foreach_lerp_([running.mean, running.variance], [mean, variance], running.momentum)
        if running.batches is not None:
            running.batches.add_(1)
    return output


class _Ordinary(torch.autograd.Function):
    way: Any

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None,
        found: arrays.Kernel, eps: float, activation: str | None, running: arrays.Running | None,
    ) -> Tensor:  # fmt: skip
        y, moments = arrays.forward(found, Parts(x, weight, bias, residual), None, eps, running=running)
        ctx.save_for_backward(x, weight, bias, residual, moments)
        ctx.settings, ctx.found = (eps, activation, False), found
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        *inputs, moments = ctx.saved_tensors
        parts, found = Parts(*inputs), ctx.found
        several = torch._C._functorch.is_legacy_batchedtensor(dy)
        if several or torch.is_grad_enabled() or type(dy) not in _PLAIN or _is_seen() or not found.fits(parts):
            return (*carry_back(dy, parts, moments, ctx.settings), None, None, None, None)
        return (*arrays.backward(found, dy, parts, moments, ctx.settings[0], given=False), None, None, None, None)


# Straight to what torch's own `apply` calls: it looks for transforms of `torch.func` first, and there are none here.
_Ordinary.way = super(torch.autograd.Function, _Ordinary).apply


def _is_seen() -> bool:
    """Tell whether a compiler, a mode, a tracer or a transform sees this call."""
    return (
        torch.compiler.is_compiling()
        or _functions() > 0
        or _modes() > 0
        or _transforms() is not None
        or forward_ad._current_level >= 0
        or _tracer() is not None
    )


def _is_plain_training(layer: Layer) -> bool:
    """Tell whether this batch alone normalises itself, and moves the running statistics as torch's layer would."""
    return (
        not layer.frozen
        and not layer.inplace
        and layer.accumulate == 1
        and layer.on_nonfinite == "propagate"
        and layer.running_variance == "unbiased"
        and layer.statistics_dtype is not torch.float64
        and not layer.shared_calls
        and current_seat() is None
    )


def _fits(layer: Layer, x: Tensor) -> bool:
    """Tell whether a batch is as it should be, with two values a channel at least."""
    if type(x) not in _PLAIN or x.dim() not in (layer._allowed_dims or ()) or x.shape[1] != layer.num_features:
        return False
    return x.numel() >= 2 * layer.num_features


def _is_of_inference(parts: Parts) -> bool:
    """Tell whether torch will refuse to keep one of the tensors, once all is done."""
    x, weight, bias, residual = parts
    return (
        x.is_inference()
        or (weight is not None and weight.is_inference())
        or (bias is not None and bias.is_inference())
        or (residual is not None and residual.is_inference())
    )


def _is_plain(part: Tensor | None) -> bool:
    return part is None or type(part) in _PLAIN


def _is_vector(vector: Tensor | None, size: int) -> bool:
    return vector is None or (type(vector) in _PLAIN and vector.is_cpu and vector.numel() == size)


def _running(layer: Layer, x: Tensor) -> arrays.Running | None:
    """Return the running statistics of a layer, or None if a kernel cannot move them."""
    mean, variance, batches = map(layer._buffers.get, ("running_mean", "running_var", "num_batches_tracked"))
    if mean is None or variance is None or layer.momentum is None:
        return None
    if not (_is_vector(mean, layer.num_features) and _is_vector(variance, layer.num_features)):
        return None
    if mean.dtype is not variance.dtype or mean.dtype is not statistics_dtype(x):
        return None
    if batches is not None and not (_is_vector(batches, 1) and batches.dtype == torch.int64):
        return None
    if not (_can_be_moved(mean) and _can_be_moved(variance)):
        return None
    return arrays.Running(mean, variance, batches, layer.momentum)


def _can_be_moved(vector: Tensor) -> bool:
    """Tell whether numbers in memory are those of a running statistic, which may change."""
    if vector.requires_grad or vector.is_neg() or vector._is_zerotensor() or not vector.is_contiguous():
        return False
    return vector.is_inference() <= torch.is_inference_mode_enabled()
