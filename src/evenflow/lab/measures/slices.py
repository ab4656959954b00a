r"""The loss on a line or a plane through a model's parameters, with directions that know the filters' sizes.

Networks with ReLU or batch normalisation do not see the scale of a filter, so a random direction is drawn for each
filter and scaled to it: $d_{i,j} \leftarrow \frac{d_{i,j}}{\lVert d_{i,j} \rVert} \lVert \theta_{i,j} \rVert$ for
filter $j$ of layer $i$. Biases and normalisation parameters are left where they are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evenflow import checks
from evenflow.lab.measures.copies import Batch, Loss, checked, copied, loss_of, trained
from evenflow.random import Stream


@dataclass(frozen=True, slots=True)
class Slice:
    """The loss around a model's parameters.

    Attributes:
        x: Positions along the first direction; 0 is where the model is.
        y: Positions along the second; (0.0,) for a line.
        losses: One row of losses for each `y`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def centre(self) -> float:
        """The loss where the model is."""
        return self.losses[len(self.y) // 2][len(self.x) // 2]


def loss_slice(
    model: nn.Module,
    batch: Batch,
    loss_fn: Loss | None = None,
    *,
    dimensions: int = 1,
    span: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> Slice:
    """Evaluate the loss on a line or a plane of filter-normalised random directions.

    Args:
        model: The network. It stays as it is; in training mode, batch normalisation takes the statistics of the batch
            at
            every point.
        batch: Inputs and targets.
        loss_fn: From outputs and targets to the loss; None for cross-entropy.
        dimensions: 1 for a line, 2 for a plane.
        span: How far to go to either side, in units of the filters' own norms, above 0.
        points: Points along each direction, odd, at least 3.
        seed: Of the directions.

    Raises:
        BatchError: The batch is no pair of tensors, or empty.
        NoParametersError: The model has nothing to train.
        ParameterValueError: A number is out of range.

    Examples:
        >>> from evenflow.lab.training import load_split, mlp
        >>> data = load_split("digits")
        >>> line = loss_slice(mlp([64, 16, 10], "relu"), (data.inputs[:64], data.targets[:64]), points=5)
        >>> line.x, len(line.losses[0])
        ((-1.0, -0.5, 0.0, 0.5, 1.0), 5)

    References:
        Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4.
    """
    batch = checked(batch)
    checks.integer("dimensions", dimensions, low=1, high=2)
    checks.real("span", span, low=0, open_low=True)
    half = checks.integer("points", points, low=3) // 2
    twin = copied(model)
    parameters = trained(twin)
    start = [parameter.detach().clone() for parameter in parameters]
    directions = [_direction(twin, seed, number) for number in range(dimensions)]
    x = tuple(span * i / half for i in range(-half, half + 1))
    y = x if dimensions == 2 else (0.0,)

    def at(*place: float) -> float:
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                parameter.copy_(start[index] + sum(b * d[index] for b, d in zip(place, directions, strict=False)))
            return float(loss_of(twin, batch, loss_fn))

    return Slice(x, y, tuple(tuple(at(across, up) for across in x) for up in y))


def _direction(model: nn.Module, seed: int, number: int) -> list[Tensor]:
    """One random direction, a tensor for each trained parameter."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [_normalised(parameter, Stream(seed, f"direction{number}.{name}")) for name, parameter in named]


def _normalised(parameter: Tensor, stream: Stream) -> Tensor:
    if parameter.dim() < 2:
        return torch.zeros_like(parameter)
    drawn = torch.from_numpy(np.asarray(stream.normal(tuple(parameter.shape)))).to(parameter)
    rows = drawn.flatten(1)
    sizes = parameter.detach().flatten(1).norm(dim=1, keepdim=True)
    scaled: Tensor = rows / rows.norm(dim=1, keepdim=True) * sizes
    return scaled.view_as(parameter)
