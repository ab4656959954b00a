"""Gradients against depth, in networks that have just been initialised."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.lab.training import load_split
from evenflow.lab.trial import Trial


def batch_of(trial: Trial, samples: int) -> tuple[Tensor, Tensor, int]:
    """A random batch of a trial's data by its seed: inputs, targets, and the number of classes."""
    data = load_split(trial["data"])
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(trial.seed))[:samples]
    return data.inputs[order], data.targets[order], int(data.targets.max()) + 1


def gradient_norms(model: nn.Sequential, inputs: Tensor, targets: Tensor) -> list[float]:
    """The norm of the loss gradient with respect to what each linear layer but the last gives."""
    outputs: list[Tensor] = []
    signal = inputs
    for layer in model:
        signal = layer(signal)
        if isinstance(layer, nn.Linear):
            outputs.append(signal)
    gradients = torch.autograd.grad(F.cross_entropy(signal.double(), targets), outputs[:-1])
    return [float(gradient.double().norm()) for gradient in gradients]


def slope(norms: Sequence[float]) -> float:
    """Decades that the gradient gains per layer on its way back, from the last hidden layer to the first.

    Examples:
        >>> round(slope([100.0, 10.0, 1.0]), 6)
        1.0
    """
    back = np.log10(np.array(norms[::-1]).clip(min=1e-45))
    return float(np.polyfit(np.arange(len(back)), back, 1)[0])
