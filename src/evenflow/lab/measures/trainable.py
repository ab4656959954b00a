"""Where a network trains: maps over learning rate, initial scale and depth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

from torch import nn

from evenflow import checks
from evenflow.data import Split
from evenflow.errors import ParameterValueError
from evenflow.lab.training import Recipe, train, train_together


@dataclass(frozen=True, slots=True)
class Region:
    """Where a network trains.

    Attributes:
        rates: Learning rates.
        scales: Initial scales.
        depths: Depths.
        losses: The smoothed training loss at the end, `losses[depth][scale][rate]`; inf where it diverged.
        target: The loss that counts as trained.
    """

    rates: tuple[float, ...]
    scales: tuple[float, ...]
    depths: tuple[int, ...]
    losses: tuple[tuple[tuple[float, ...], ...], ...]
    target: float

    def area(self, depth: int | None = None) -> float:
        """The share of the map that trains, of one depth or of all.

        Examples:
            >>> Region((0.1, 1.0), (1.0,), (3,), (((0.2, float("inf")),),), target=0.5).area()
            0.5
        """
        chosen = self.losses if depth is None else (self.losses[self.depths.index(depth)],)
        cells = [loss <= self.target for of_depth in chosen for of_scale in of_depth for loss in of_scale]
        return sum(cells) / len(cells)


def trainable_region(
    build: Callable[[float, int], nn.Module],
    data: Split,
    recipe: Recipe,
    *,
    rates: Sequence[float],
    scales: Sequence[float] = (1.0,),
    depths: Sequence[int] = (1,),
    target: float,
    seed: int = 0,
    together: bool = True,
) -> Region:
    """Train a network at every learning rate, initial scale and depth.

    Args:
        build: From a scale and a depth to a freshly initialised network.
        data: Training and test set.
        recipe: How to train; the rates are those below.
        rates: Learning rates, above 0; evenly spaced logarithms make the area a fair share.
        scales: Whatever `build` makes of them, such as factors of the initial weights.
        depths: Numbers of layers.
        target: The smoothed training loss that counts as trained.
        seed: Of the order of the batches.
        together: Whether all rates and scales of a depth are trained in one, which torch cannot do for every model.

    Raises:
        ParameterValueError: There is no rate, scale or depth, or one is out of range.

    Examples:
        >>> from evenflow.lab.training import initialise_, load_split, mlp
        >>> def build(scale, depth):
        ...     model = mlp([64, *[16] * depth, 10], "tanh")
        ...     return initialise_(model, "variance_scaling", 0, scale=scale**2, mode="fan_in")
        >>> region = trainable_region(
        ...     build, load_split("digits"), Recipe(rate=0.1, steps=50), rates=(1e-5, 0.3), target=1.5
        ... )
        >>> region.area()
        0.5

    References:
        Schoenholz et al. 2017, "Deep information propagation", figure 5.
    """
    if not (len(rates) and len(scales) and len(depths)):
        raise ParameterValueError("rates, scales and depths must each hold at least one value")
    for rate in rates:
        checks.real("rates", rate, low=0, open_low=True)
    cells = []
    for depth in depths:
        pairs = [(scale, rate) for scale in scales for rate in rates]
        models = [build(scale, depth) for scale, _ in pairs]
        if together:
            runs = train_together(models, data, recipe, [seed] * len(pairs), [rate for _, rate in pairs])
        else:
            runs = [
                train(model, data, changed(recipe, rate=rate), seed)
                for model, (_, rate) in zip(models, pairs, strict=True)
            ]
        finals = [run.final for run in runs]
        cells.append(tuple(tuple(finals[i : i + len(rates)]) for i in range(0, len(finals), len(rates))))
    return Region(tuple(rates), tuple(scales), tuple(depths), tuple(cells), target)
