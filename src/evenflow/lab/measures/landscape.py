"""The loss along its gradient: how much it, and the gradient, change over a step."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from evenflow import checks
from evenflow.errors import ParameterValueError
from evenflow.lab.measures.copies import Batch, Loss, checked, copied, gradients_of, moved_, norm, trained

STEPS = (0.025, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class AlongGradient:
    r"""The loss on the line $\theta - \eta \nabla L(\theta)$.

    Attributes:
        steps: The step sizes $\eta$.
        losses: The loss after each.
        gradient_changes: $\lVert \nabla L(\theta) - \nabla L(\theta - \eta \nabla L(\theta)) \rVert_2$ for each.
        distances: $\eta \lVert \nabla L(\theta) \rVert_2$, how far each is.
        start: The loss before.
        gradient_norm: Norm of the gradient before.
    """

    steps: tuple[float, ...]
    losses: tuple[float, ...]
    gradient_changes: tuple[float, ...]
    distances: tuple[float, ...]
    start: float
    gradient_norm: float

    @property
    def loss_range(self) -> float:
        """The largest loss less the smallest, of those after a step."""
        return max(self.losses) - min(self.losses)

    @property
    def gradient_range(self) -> float:
        """The largest change of the gradient less the smallest: its unpredictability."""
        return max(self.gradient_changes) - min(self.gradient_changes)

    @property
    def smoothness(self) -> float:
        r"""Effective $\beta$-smoothness: the largest change of the gradient per distance moved; lower is smoother."""
        pairs = zip(self.gradient_changes, self.distances, strict=True)
        return max((change / distance for change, distance in pairs if distance > 0), default=0.0)


def along_gradient(
    model: nn.Module, batch: Batch, loss_fn: Loss | None = None, steps: Sequence[float] = STEPS
) -> AlongGradient:
    r"""Walk from a model's parameters against its gradient, and measure the loss and the gradient on the way.

    Args:
        model: The network, in training mode if that is how it is trained. It stays as it is.
        batch: Inputs and targets; all is measured on them.
        loss_fn: From outputs and targets to the loss; None for cross-entropy.
        steps: Step sizes $\eta$, above 0. Santurkar et al. take those around the learning rate.

    Raises:
        BatchError: The batch is no pair of tensors, or empty.
        NoParametersError: The model has nothing to train.
        ParameterValueError: A step is not positive, or there is none.

    Examples:
        A quadratic bowl of curvature 4 has that smoothness everywhere.

        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> batch = torch.ones(2, 1), torch.zeros(2, 1)
        >>> walk = along_gradient(model, batch, lambda output, target: 2 * (output - target).square().mean())
        >>> round(walk.smoothness, 3)
        4.0

    References:
        Santurkar et al. 2018, "How does batch normalization help optimization?", section 3.1 and figure 4.
    """
    batch = checked(batch)
    chosen = tuple(checks.real("steps", step, low=0, open_low=True) for step in steps)
    if not chosen:
        raise ParameterValueError("steps must hold at least one step size; got none")
    twin = copied(model)
    parameters = trained(twin)
    start = [parameter.detach().clone() for parameter in parameters]
    loss, gradient = gradients_of(twin, batch, loss_fn)
    size = norm(gradient)
    losses, changes = [], []
    for step in chosen:
        moved_(parameters, start, gradient, -step)
        there, other = gradients_of(twin, batch, loss_fn)
        losses.append(there)
        changes.append(norm([a - b for a, b in zip(gradient, other, strict=True)]))
    distances = tuple(step * size for step in chosen)
    return AlongGradient(chosen, tuple(losses), tuple(changes), distances, loss, size)
