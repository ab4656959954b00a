r"""Train many replicas of one small network in one: stacked parameters, one matrix product for all.

The sum of the replicas' losses has, for each replica's parameters, the gradient of its own loss. So
`torch.func.stack_module_state` stacks the parameters, `torch.func.vmap` runs the forward pass of all, and one ordinary
backward pass through the sum gives every gradient. Plain linear layers need no `vmap`: `evenflow.lab.training.layers`.
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from evenflow import checks
from evenflow.data import Split
from evenflow.errors import ParameterValueError
from evenflow.lab.training.batches import batch_order
from evenflow.lab.training.layers import Forward, forward_of_layers
from evenflow.lab.training.recipe import BEYOND, Recipe, Run
from evenflow.lab.training.updates import Update, updates_of

State = dict[str, Tensor]
Step = Callable[[list[Tensor], Tensor, Tensor], list[Tensor]]
Look = Callable[[int, list[nn.Module]], object]


def train_together(
    models: Sequence[nn.Module],
    data: Split,
    recipe: Recipe,
    seeds: Sequence[int],
    rates: Sequence[float] | None = None,
    *,
    subsets: Sequence[Tensor] | None = None,
    look: Look | None = None,
    at: Sequence[int] = (),
) -> list[Run]:
    """Train replicas of one network together: the curves of `train` one by one, up to rounding.

    A replica that diverges is no longer measured; its numbers stay apart from those of the others.

    Args:
        models: The replicas: the same modules with their own initial values. They are left as they are.
        data: Training and test set, for all.
        recipe: How, for all.
        seeds: For each replica, what the order of its batches follows from.
        rates: For each replica its learning rate; None for that of the recipe.
        subsets: For each replica the rows of the training set that it trains on, all as many; None for all rows.
        look: Called with the number of steps made so far and copies of the replicas, in the mode of the models; what it
            does to them has no effect on the training. It is not called any more once all replicas have diverged.
        at: Numbers of steps after which to look, from 0 (before the first) to the recipe's.

    Returns:
        The run of each replica.

    Raises:
        ParameterValueError: The numbers of models, seeds, rates and subsets differ, the recipe clips gradients, or a
            number of steps to look after is out of range.
        RuntimeError: torch cannot stack the models or vectorise their forward pass.

    Examples:
        >>> from evenflow.lab.training import initialise_, load_split, mlp, train
        >>> models = [initialise_(mlp([64, 16, 10], "tanh"), "glorot_normal", seed) for seed in (0, 1)]
        >>> recipe = Recipe(rate=0.1, steps=20)
        >>> runs = train_together(models, load_split("digits"), recipe, seeds=(0, 1))
        >>> alone = train(models[1], load_split("digits"), recipe, seed=1)
        >>> abs(runs[1].final - alone.final) < 1e-5
        True
    """
    rates = [recipe.rate] * len(models) if rates is None else list(rates)
    _require_alike(models, seeds, rates, recipe, subsets)
    looked = {checks.integer("at", step, low=0, high=recipe.steps) for step in at} if look is not None else set()
    parameters, buffers, step = _stacked(models)
    record = _Record(len(models), recipe)
    update_: Update | None = None
    if look is not None and 0 in looked:
        look(0, _copies(models, parameters, buffers))
    for number, chosen in enumerate(_rows(data, recipe, seeds, subsets), start=1):
        batch = _taken(data.inputs, chosen), _taken(data.targets, chosen)
        losses, *gradients = step(list(parameters.values()), *batch)
        if update_ is None:
            parameters = _laid_out(parameters, gradients)
            update_ = updates_of(recipe.optimiser)(list(parameters.values()), rates)
        if not record.keep(losses):
            break
        update_(gradients)
        if recipe.measured_at(number):
            record.measured.append((number, _accuracies(models[0], parameters, buffers, data)))
        if look is not None and number in looked:
            look(number, _copies(models, parameters, buffers))
    return record.runs()


def _stacked(models: Sequence[nn.Module]) -> tuple[State, State, Step]:
    """Stacked parameters and buffers, and what gives the losses and the gradients of a batch for each replica."""
    parameters, buffers = stack_module_state(list(models))
    layers, mapped = forward_of_layers(models[0]), _mapped(models[0], buffers)

    def step(leaves: list[Tensor], inputs: Tensor, targets: Tensor) -> list[Tensor]:
        stacked = dict(zip(parameters, leaves, strict=True))
        forward = mapped if layers is None or inputs.dim() != 3 else layers
        losses = _losses(forward(stacked, inputs), targets)
        return [losses, *torch.autograd.grad(losses.sum(), leaves)]

    return parameters, buffers, step


def _mapped(model: nn.Module, buffers: State) -> Forward:
    skeleton, tied = _skeleton(model)

    def one(own: State, kept: State, inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, (own, kept), (inputs,), tie_weights=tied)
        return output

    every = vmap(one, randomness="different")
    return lambda stacked, inputs: every(dict(stacked), buffers, inputs)


def _skeleton(model: nn.Module) -> tuple[nn.Module, bool]:
    """The model without values, and whether weights are tied: to look for ties takes longer than a small layer."""
    tied = len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False)))
    twin = copy.deepcopy(model)
    return (twin if tied else twin.to("meta")), tied  # on another device they would be tied no longer


def _laid_out(parameters: State, gradients: Sequence[Tensor]) -> State:
    """The parameters in the layout of their gradients, which are often transposed: updates go through both in order."""
    return {
        name: torch.empty_like(gradient).copy_(parameter.detach()).requires_grad_()
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
    }


@torch.no_grad()
def _copies(models: Sequence[nn.Module], parameters: State, buffers: State) -> list[nn.Module]:
    """The replicas as modules of their own, with the values that they have by now."""
    copies = [copy.deepcopy(model) for model in models]
    for index, twin in enumerate(copies):
        for name, own in (*twin.named_parameters(), *twin.named_buffers()):
            own.copy_((parameters | buffers)[name][index])
    return copies


def _rows(data: Split, recipe: Recipe, seeds: Sequence[int], subsets: Sequence[Tensor] | None) -> Tensor:
    """The rows of every step: (steps, replicas, batch)."""
    samples = len(data.inputs) if subsets is None else len(subsets[0])
    orders = {
        seed: torch.stack(list(batch_order(samples, recipe.batch, recipe.steps, seed))) for seed in dict.fromkeys(seeds)
    }
    if subsets is None:
        return torch.stack([orders[seed] for seed in seeds], dim=1)
    return torch.stack([own[orders[seed]] for own, seed in zip(subsets, seeds, strict=True)], dim=1)


def _taken(data: Tensor, rows: Tensor) -> Tensor:
    """`data[rows]`, as one selection of rows, which is the faster way."""
    return data.index_select(0, rows.flatten()).view(*rows.shape, *data.shape[1:])


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each replica."""
    flat = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape).mean(1)


@torch.no_grad()
def _accuracies(model: nn.Module, parameters: State, buffers: State, data: Split) -> list[float]:
    skeleton, _ = _skeleton(model)
    skeleton.eval()
    outputs = vmap(lambda own, kept: functional_call(skeleton, (own, kept), (data.test_inputs,)))(parameters, buffers)
    shares: list[float] = (outputs.argmax(2) == data.test_targets).float().mean(1).tolist()
    return shares


class _Record:
    """The curves of all replicas; a replica ends where its loss is no number any more."""

    def __init__(self, replicas: int, recipe: Recipe) -> None:
        self.losses: list[list[float]] = []
        self.measured: list[tuple[int, list[float]]] = []
        self.ended = [math.inf] * replicas
        self.recipe = recipe

    def keep(self, losses: Tensor) -> bool:
        """Keep the losses of a step; return whether any replica goes on."""
        self.losses.append(losses.tolist())
        for replica, loss in enumerate(self.losses[-1]):
            if not math.isfinite(loss) or loss > BEYOND:
                self.ended[replica] = min(self.ended[replica], len(self.losses))
        return any(math.isinf(end) for end in self.ended)

    def runs(self) -> list[Run]:
        """The run of every replica."""
        return [self._run(replica, end) for replica, end in enumerate(self.ended)]

    def _run(self, replica: int, end: float) -> Run:
        losses = [step[replica] for number, step in enumerate(self.losses, start=1) if number <= end]
        measured = [(step, shares[replica]) for step, shares in self.measured if step < end]
        columns = tuple(step for step, _ in measured), tuple(share for _, share in measured)
        return Run(tuple(losses), *columns, self.recipe.smoothing, diverged=math.isfinite(end))


def _require_alike(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    rates: Sequence[float],
    recipe: Recipe,
    subsets: Sequence[Tensor] | None,
) -> None:
    if not len(models) == len(seeds) == len(rates) > 0:
        raise ParameterValueError(
            f"models, seeds and rates must be as many, at least one; got {len(models)}, {len(seeds)} and {len(rates)}"
        )
    sizes = [len(rows) for rows in subsets or ()]
    if subsets is not None and (len(sizes) != len(models) or len(set(sizes)) > 1):
        raise ParameterValueError(
            f"subsets must be one for each of {len(models)} models, all of as many rows; got rows {sizes}"
        )
    if math.isfinite(recipe.max_norm):
        raise ParameterValueError(f"replicas cannot be clipped; got max_norm={recipe.max_norm}: train them one by one")
