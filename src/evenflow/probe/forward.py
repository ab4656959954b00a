"""Run a model forward under a tracer, and leave it as it was."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from evenflow.errors import ModelError
from evenflow.probe.batch import Batch
from evenflow.probe.dropout import switch_off
from evenflow.probe.guard import told_as
from evenflow.probe.preserve import preserved
from evenflow.probe.trace import Tracer

# Hooks, random states and the compiler's stance belong to the model and the process, not to the thread.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Restore the model on exit, with no other measurement at the same time and no inference mode around."""
    with _ONE_AT_A_TIME, torch.inference_mode(False), preserved(model):
        yield


def forward(model: nn.Module, batch: Batch, tracer: Tracer) -> Any:
    """Run the model in training mode, without dropout, and return its output.

    To be called where the model is restored afterwards.

    Raises:
        ModelError: The model raises, or uses no parameter.
    """

    def message(error: str) -> str:
        where = f"in {tracer.stack.place}, on inputs {batch.describe()}"
        return f"the model raised {error} ({where}); does the batch fit the model?"

    with _uncompiled(), told_as(ModelError, message):
        if not model.training:
            model.train()
        switch_off(model)
        with tracer:
            output = batch.run(model)
    if not tracer.calls:
        kind = type(model).__name__
        raise ModelError(f"no layer of {kind} used its parameters in the forward pass, so there is nothing to measure")
    return output


def _uncompiled() -> AbstractContextManager[Any]:
    """Run compiled parts eagerly. Nothing can be compiled before `torch._dynamo` is imported, which takes a second."""
    loaded = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if loaded else nullcontext()
