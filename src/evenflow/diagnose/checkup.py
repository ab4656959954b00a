"""The main job: measure a network, name what is wrong, say what to do."""

from torch import nn

from evenflow.diagnose.causes import sort_by_cause
from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.prescribe import prescribe
from evenflow.diagnose.rules import RULES
from evenflow.probe import NetworkRecord, measure
from evenflow.probe.loss import LossFunction


def check(model: nn.Module, batch: object, loss_fn: LossFunction | None = None) -> Diagnosis:
    """Diagnose a network by one forward and one backward pass over one batch.

    The model is afterwards what it was: parameters, buffers, modes, gradients, hooks and random states, also when this
    raises. A model in evaluation mode is measured in training mode; dropout is left out, so that its noise is not taken
    for signal.

    Args:
        model: Any eager module: functional or in-place activations, modules used twice, residual sums, raw parameters
            and outputs in a dict are all followed. `torch.compile` and data-parallel wrappers are looked through.
        batch: `(inputs, targets)`, where inputs may be a tuple of positional or a dict of keyword inputs; a tensor; or
            a dict of keyword inputs. 32 samples or more tell most. Without targets (and a loss of the model's own) the
            gradient is that of the outputs along a fixed direction.
        loss_fn: Called as `loss_fn(output, targets)`. By default cross-entropy for integer targets, mean squared error
            for real targets of the output's shape, or the output's `loss`.

    Returns:
        A `Diagnosis`: `ok`, `findings` (root cause first), `layers`, `prescription`.

    Raises:
        ParameterTypeError: `model` is no module.
        NoParametersError: The model has no parameter, or all are frozen.
        BatchError: The batch is empty or of an unknown form.
        ModelError: The model raises (the batch may not fit it), or returns nothing to differentiate.
        LossError: No loss can be guessed, or `loss_fn` is unusable.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import evenflow as ef
        >>> _ = torch.manual_seed(0)
        >>> layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.Tanh())]
        >>> model = nn.Sequential(*layers, nn.Linear(64, 10))
        >>> for layer in model[::2]:
        ...     _ = nn.init.normal_(layer.weight)
        >>> diagnosis = ef.check(model, (torch.randn(64, 64), torch.randint(10, (64,))))
        >>> diagnosis.ok
        False
        >>> diagnosis.findings[0].rule, diagnosis.findings[0].layer
        ('gain-mismatch', '0')
    """
    record = measure(model, batch, loss_fn)
    return diagnose(record, batch, loss_fn)


def diagnose(record: NetworkRecord, batch: object = None, loss_fn: LossFunction | None = None) -> Diagnosis:
    """Apply the rules to a record; the batch and the loss are kept so that a treatment can be checked on the same.

    Example:
        >>> from evenflow.probe import LossRecord, Moments, NetworkRecord
        >>> nothing = Moments((1, 1), 0.0, 1.0, 1.0, -1.0, 1.0, None, 1.0, 0)
        >>> diagnose(NetworkRecord("Net", 32, (), (), nothing, LossRecord("given", 1.0))).ok
        True
    """
    findings = sort_by_cause((f for rule in RULES for f in rule(record)), [layer.name for layer in record.layers])
    return Diagnosis(record, findings, prescribe(record, findings), batch, loss_fn)
