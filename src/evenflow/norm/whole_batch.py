"""`whole_batch`: micro-batches that count as one batch, exactly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.errors import BatchError, ModelError
from evenflow.norm.provisional import provisional_statistics
from evenflow.norm.sharing import AbandonedError, Table
from evenflow.norm.tracking import TrackingNorm


def whole_batch(model: nn.Module, micro_batches: Sequence[Any]) -> list[Any]:
    r"""Run micro-batches through the model as if they were one batch.

    Where a layer of `ef.norm` in training mode normalises, it waits for all micro-batches and uses the statistics of
    all their values. With $x = (x^{(1)}, \dots, x^{(k)})$ and $m$ values a channel in all of them together,

    $$
    y^{(b)} = \gamma \frac{x^{(b)} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
    \mu = \tfrac1m \sum_{b, i} x^{(b)}_i, \qquad \sigma^2 = \tfrac1m \sum_{b, i} (x^{(b)}_i - \mu)^2
    $$

    and gradients flow through $\mu$ and $\sigma^2$ into all micro-batches.

    Equal to the whole batch, but for rounding: outputs, the gradients of any function of the outputs, running
    statistics, and `num_batches_tracked`, which counts one batch. Not equal: dropout and other random numbers, which
    are drawn for one micro-batch after the other; layers that normalise over the batch and are not of `ef.norm`.
    Micro-batches may differ in size, also in the size of images or the length of sequences, and one sample will do.

    An exact gradient of one micro-batch depends on what is above each layer in all the others, so all graphs are kept
    until backward: the memory is that of the whole batch. `torch.utils.checkpoint` (with `use_reentrant=False`)
    inside the model lowers it as it does there. The forward pass of one micro-batch at a time keeps the peak of what
    is not saved low, and with `torch.no_grad()` nothing is saved: that gives exact outputs and statistics in the
    memory of $k$ tensors.

    Args:
        model: Called for each micro-batch, in threads that take turns: one runs at a time, in a fixed order.
        micro_batches: For each the input of `model`: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Returns:
        What the model returned for each.

    Raises:
        BatchError: There is no micro-batch, or they take different ways through the model.
        ModelError: A layer of torch would normalise each micro-batch by itself, or a part of the model is compiled
            and cannot wait.
        TensorShapeError: All micro-batches together have one value per channel.

        The running statistics are then what they were, also when the model raises.

    Examples:
        >>> from evenflow.norm import BatchNorm1d
        >>> layer = BatchNorm1d(1, affine=False)
        >>> whole_batch(layer, [torch.tensor([[1.0]]), torch.tensor([[3.0], [5.0]])])
        [tensor([[-1.2247]]), tensor([[0.0000],
                [1.2247]])]
    """
    if len(micro_batches) == 0:
        raise BatchError("micro_batches must hold at least one micro-batch; got none")
    _check(model)
    table = Table(len(micro_batches))
    state = _thread_state()
    with provisional_statistics(model), ThreadPoolExecutor(len(micro_batches)) as pool:

        def run(index: int) -> Any:
            with state():
                return table.take(index, lambda: _call(model, micro_batches[index]))

        futures = [pool.submit(run, index) for index in range(len(micro_batches))]
        table.start()
        return _results(futures)


def _check(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None:
            raise ModelError(f"{name or 'the model'} is compiled and cannot wait for the others; give the eager one")
        if isinstance(module, _BatchNorm) and not isinstance(module, TrackingNorm) and module.training:
            raise ModelError(
                f"{name or 'the model'} is torch's {type(module).__name__}, which would normalise each micro-batch by "
                "itself. Convert the model to the layers of ef.norm, or put this layer in eval mode"
            )


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _results(futures: list[Future[Any]]) -> list[Any]:
    """Wait for all, and raise the error that made the others give up, if there is one."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, AbandonedError):
            raise error
    return [future.result() for future in futures]


def _thread_state() -> Callable[[], Any]:
    """Return a context that gives another thread what torch keeps for each: modes, autocast, the stream."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    devices = {"cpu"} | ({"cuda"} if torch.cuda.is_available() else set())
    casts = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in sorted(devices)]
    cache = torch.is_autocast_cache_enabled()
    stream = torch.cuda.current_stream() if "cuda" in devices else None

    @contextmanager
    def state() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            for kind, dtype, enabled in casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled, cache))
            if stream is not None:
                stack.enter_context(torch.cuda.stream(stream))
            yield

    return state
