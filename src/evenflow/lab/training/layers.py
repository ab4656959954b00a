"""The forward pass of replicas of plain linear layers, each layer one call for all of them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]

# What acts on every element by itself, so that it does not matter how many dimensions there are.
ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Sigmoid, nn.Tanh,
    nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity,
)  # fmt: skip


def forward_of_layers(model: nn.Module) -> Forward | None:
    """Return the forward pass of stacked replicas of a chain of linear layers and activations; None for another model.

    It does what `torch.func.vmap` of the model would, in half the operations: a product of matrices adds the shift too.

    Examples:
        >>> forward = forward_of_layers(nn.Sequential(nn.Linear(2, 1), nn.ReLU()))
        >>> stacked = {"0.weight": torch.tensor([[[1.0, 1.0]], [[2.0, 2.0]]]), "0.bias": torch.tensor([[0.5], [0.0]])}
        >>> forward(stacked, torch.ones(2, 3, 2)).squeeze(2)
        tensor([[2.5000, 2.5000, 2.5000],
                [4.0000, 4.0000, 4.0000]])
        >>> forward_of_layers(nn.Sequential(nn.Linear(2, 1), nn.Dropout())) is None
        True
    """
    if type(model) is not nn.Sequential or _hooked(model):
        return None
    chain = list(model.named_children())
    alone = len(list(model.parameters())) == len(list(model.named_parameters(remove_duplicate=False)))
    if not alone or any(type(part) not in (nn.Linear, *ELEMENTWISE) or _hooked(part) for _, part in chain):
        return None

    def forward(stacked: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        for name, part in chain:
            inputs = _linear(stacked, name, inputs) if isinstance(part, nn.Linear) else part(inputs)
        return inputs

    return forward


def _linear(stacked: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    weight, bias = stacked[f"{name}.weight"].mT, stacked.get(f"{name}.bias")
    return torch.bmm(inputs, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), inputs, weight)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
