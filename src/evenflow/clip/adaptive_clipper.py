"""Adaptive clipping with a memory."""

from collections.abc import Iterable
from typing import ClassVar

from torch.optim import Optimizer

from evenflow.clip.adaptive import as_clip_factor, as_eps, clip_units_, refuse_without_units, units_in
from evenflow.clip.by_norm import as_order
from evenflow.clip.clipper import Clipper, Found, Outcome
from evenflow.clip.gradients import Gradients, Parameters
from evenflow.clip.norms import combined


class AdaptiveClipper(Clipper):
    r"""Scale the gradient of each unit to at most a share of the norm of its weight (AGC), and remember what it did.

    $$
    G_i \leftarrow \lambda \, \frac{\max(\|W_i\|_p, \epsilon)}{\|G_i\|_p} \, G_i
    \qquad \text{where} \quad \frac{\|G_i\|_p}{\max(\|W_i\|_p, \epsilon)} > \lambda
    $$

    What a unit is, `adaptive_clip_grad_` tells. In the reports `measure` is the largest ratio of a unit's gradient to
    its weight, and the parts are the units.

    Args:
        parameters: A model, an optimizer, or an iterable of parameters or (name, parameter) pairs. Only a model tells
            the types of its layers.
        clip_factor: $\lambda$, at least 0.
        eps: $\epsilon$, positive.
        norm_type: $p$, positive; infinity is the largest magnitude.
        exclude: As in `adaptive_clip_grad_`. What it comes to is in the attribute `excluded`.
        nonfinite: As in `NormClipper`; "propagate" clips the units that are finite.
        accumulate: As in `NormClipper`.
        history: As in `NormClipper`.
        scaler: As in `NormClipper`.

    Attributes:
        excluded: Names of the parameters that are left out.

    Raises:
        ParameterValueError: An argument is out of range, `exclude` names nothing, or there are no parameters.
        ParameterTypeError: An argument has the wrong type.
        ShardingError: The model is wrapped in FullyShardedDataParallel; use `fully_shard`.

    Examples:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(1, 1))
        >>> clipper = AdaptiveClipper(model, 0.1)
        >>> clipper.excluded
        ('1.weight', '1.bias')
        >>> model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 4.]])
        >>> model[0].weight.grad = torch.tensor([[6.0, 8.0]])
        >>> clipper.step().measure
        2.0
        >>> model[0].weight.grad
        tensor([[0.3000, 0.4000]])

    References:
        Brock, De, Smith & Simonyan 2021, "High-performance large-scale image recognition without normalization",
        section 4.1.
    """

    _settings: ClassVar[tuple[str, ...]] = ("clip_factor", "eps", "norm_type")

    def __init__(
        self,
        parameters: Parameters | Optimizer,
        clip_factor: float = 0.01,
        eps: float = 1e-3,
        norm_type: float = 2.0,
        *,
        exclude: str | Iterable[str] | None = "output",
        nonfinite: str = "skip",
        accumulate: int = 1,
        history: int = 1000,
        scaler: object = None,
    ) -> None:
        self.clip_factor, self.eps, self.norm_type = as_clip_factor(clip_factor), as_eps(eps), as_order(norm_type)
        super().__init__(parameters, nonfinite=nonfinite, accumulate=accumulate, history=history, scaler=scaler)
        self._units = units_in(self._named, exclude)
        self.excluded = tuple(
            name for (name, _), units in zip(self._named.pairs, self._units, strict=True) if units is None
        )

    @property
    def _order(self) -> float:
        return self.norm_type

    def _measured(self, gradients: Gradients) -> Found:
        refuse_without_units(gradients, self._units)
        return super()._measured(gradients)

    def _clip(self, found: Found) -> Outcome:
        done = clip_units_(found.gradients, self._named, self._units, self.clip_factor, self.eps, self.norm_type)
        return Outcome(
            clipped_norm=float(combined(done.norms, self.norm_type)),
            measure=done.ratio,
            threshold=self.clip_factor,
            factor=done.factor,
            clipped=done.clipped,
            parts=done.units,
        )
