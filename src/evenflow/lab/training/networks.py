"""The small networks of the claims, and their initial weights."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from evenflow import init
from evenflow.checks import choice
from evenflow.random import Stream

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
}

SCHEMES: dict[str, Callable[..., Tensor]] = {
    "zeros": init.zeros_,
    "constant": init.constant_,
    "uniform": init.uniform_,
    "normal": init.normal_,
    "random_uniform": init.random_uniform_,
    "random_normal": init.random_normal_,
    "glorot_uniform": init.glorot_uniform_,
    "glorot_normal": init.glorot_normal_,
    "he_uniform": init.he_uniform_,
    "he_normal": init.he_normal_,
    "lecun_uniform": init.lecun_uniform_,
    "lecun_normal": init.lecun_normal_,
    "orthogonal": init.orthogonal_,
    "delta_orthogonal": init.delta_orthogonal_,
    "variance_scaling": init.variance_scaling_,
}
FIXED = ("zeros", "constant")


def mlp(
    sizes: Sequence[int], activation: str, norm: Callable[[int], nn.Module] | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """Linear layers with an activation after each but the last.

    Args:
        sizes: Features of the input, units of each hidden layer, number of classes.
        activation: A name of `ACTIVATIONS`.
        norm: Makes the normalisation before each activation from a number of units, such as `ef.norm.BatchNorm1d`.
        dropout: Probability of dropping a unit after each activation; 0 for no such layer.

    Examples:
        >>> [name for name, _ in mlp([64, 32, 10], "relu").named_children()]
        ['linear1', 'relu1', 'linear2']
    """
    make = ACTIVATIONS[choice("activation", activation, ACTIVATIONS)]
    model = nn.Sequential()
    for number, (features, units) in enumerate(pairwise(sizes), start=1):
        model.add_module(f"linear{number}", nn.Linear(features, units))
        if number < len(sizes) - 1:
            _add(model, number, activation, make, None if norm is None else norm(units), dropout)
    return model


def cnn(
    channels: Sequence[int],
    activation: str,
    classes: int,
    norm: Callable[[int], nn.Module] | None = None,
    strides: Sequence[int] = (),
) -> nn.Sequential:
    """3 by 3 convolutions with an activation after each, the mean over positions, and a linear layer.

    Args:
        channels: Channels of the input and of every convolution.
        activation: A name of `ACTIVATIONS`.
        classes: Number of classes.
        norm: Makes the normalisation before each activation, such as `ef.norm.BatchNorm2d`.
        strides: Stride of every convolution; empty for 1 everywhere.

    Examples:
        >>> [name for name, _ in cnn([1, 8], "relu", 10).named_children()]
        ['conv1', 'relu1', 'pool', 'flat', 'linear']
    """
    make = ACTIVATIONS[choice("activation", activation, ACTIVATIONS)]
    model = nn.Sequential()
    steps = strides or (1,) * (len(channels) - 1)
    for number, ((inputs, outputs), stride) in enumerate(zip(pairwise(channels), steps, strict=True), start=1):
        model.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1))
        _add(model, number, activation, make, None if norm is None else norm(outputs), 0.0)
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("linear", nn.Linear(channels[-1], classes))
    return model


def initialise_(model: nn.Module, scheme: str, seed: int, **options: float | str) -> nn.Module:
    """Draw every weight by one scheme, in place, and make every bias zero; normalisation layers are left alone.

    Args:
        model: The network.
        scheme: A name of `SCHEMES`.
        seed: With the parameter's name it decides the draws, so that the same seed pairs two networks.
        **options: Passed on to the scheme, such as `std` for "normal".

    Examples:
        >>> model = initialise_(mlp([4, 3, 2], "tanh"), "normal", 0, std=0.01)
        >>> bool(model.linear1.weight.abs().max() < 0.05)
        True
    """
    rule = SCHEMES[choice("scheme", scheme, SCHEMES)]
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding, nn.RNNBase)):
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.dim() < 2:
                    init.zeros_(parameter)
                elif scheme in FIXED:
                    rule(parameter, **options)
                else:
                    rule(parameter, stream=Stream(seed, f"{name}.{own}"), **options)
    return model


def _add(
    model: nn.Sequential,
    number: int,
    activation: str,
    make: Callable[[], nn.Module],
    norm: nn.Module | None,
    dropout: float,
) -> None:
    if norm is not None:
        model.add_module(f"norm{number}", norm)
    model.add_module(f"{activation}{number}", make())
    if dropout:
        model.add_module(f"dropout{number}", nn.Dropout(dropout))
