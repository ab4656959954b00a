"""What the zoo is judged by, measured with torch's own hooks and nothing of evenflow's."""

import math
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@contextmanager
def without_dropout(model):
    modes = {module: module.training for module in model.modules()}
    rates = {m: m.dropout for m in model.modules() if isinstance(getattr(m, "dropout", None), float)}
    model.train()
    for module in model.modules():
        if isinstance(module, DROPOUT):
            module.eval()
    for module in rates:
        module.dropout = 0.0
    yield
    for module, rate in rates.items():
        module.dropout = rate
    for module, mode in modes.items():
        module.training = mode


def inputs_and_targets(batch):
    if isinstance(batch, dict):
        return (), batch, None
    if isinstance(batch, tuple):
        inputs, targets = batch
        return (inputs if isinstance(inputs, tuple) else (inputs,)), {}, targets
    return (batch,), {}, None


def loss_of(output, targets):
    """The output's own loss, cross-entropy for classes, the squared error for numbers, else the output itself."""
    if hasattr(output, "loss") and output.loss is not None:
        return output.loss
    if targets is None:
        return output.square().mean() * 0.5 + output.mean()
    return F.cross_entropy(output, targets) if targets.dtype == torch.int64 else F.mse_loss(output, targets)


def measure(model, batch):
    """Loss, size of every layer's first output, and size of the gradient that arrives there, by the layer's name."""
    sizes, gradients, handles = {}, {}, []

    def watch(name):
        def hook(module, args, output):
            if sizes.get(name) or not output.requires_grad:  # a recurrence starts from zeros
                return
            sizes[name] = float(output.detach().double().square().mean().sqrt())
            output.register_hook(
                lambda gradient: gradients.__setitem__(name, float(gradient.double().square().sum().sqrt()))
            )

        return hook

    for name, module in model.named_modules():
        if isinstance(module, LAYERS) or type(module).__name__ == "Conv1D":  # GPT-2's dense layer
            handles.append(module.register_forward_hook(watch(name)))
    args, kwargs, targets = inputs_and_targets(batch)
    with without_dropout(model):
        loss = loss_of(model(*args, **kwargs), targets)
        torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    for handle in handles:
        handle.remove()
    return float(loss.detach()), sizes, gradients


def worst_size(sizes, aims):
    """Factor by which the output furthest from what was aimed at is away from it."""
    away = [abs(math.log(max(sizes[name], 1e-30) / aim)) for name, aim in aims.items() if name in sizes]
    return math.exp(max(away, default=0.0))


def worst_gradient(gradients):
    """Factor between the median layer's gradient and the one furthest away, and that layer's name."""
    if not gradients:
        return 1.0, ""
    logs = {name: math.log(max(size, 1e-30)) for name, size in gradients.items()}
    median = sorted(logs.values())[len(logs) // 2]
    name = max(logs, key=lambda name: abs(logs[name] - median))
    return math.exp(abs(logs[name] - median)), name


def outputs(plan):
    """The layers whose gradient is the loss's own and no work of the weights."""
    heads = {row.layer for row in plan.rows if row.role == "output"}
    return heads | {alias.rpartition(".")[0] for row in plan.rows if row.role == "embedding" for alias in row.aliases}
