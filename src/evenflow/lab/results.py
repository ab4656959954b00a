"""The outcomes of a claim's trials, for its verdict and figure to read."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.errors import NoResultsError
from evenflow.lab.figure import Series
from evenflow.lab.trial import Outcome

Array = NDArray[np.float64]


class Results:
    """The trials of a claim that were measured, in the order of its design.

    Args:
        outcomes: What became of the trials; those that failed are counted and left out.

    Examples:
        >>> from evenflow.lab.trial import Outcome, grid
        >>> told = Results(Outcome(t, "done", {"loss": t.seed + t["a"]}) for t in grid([0, 1], a=(10, 20)))
        >>> told.where(a=20).values("loss")
        array([20., 21.])
        >>> told.pairs("loss", {"a": 20}, {"a": 10})
        (array([20., 21.]), array([10., 11.]))
    """

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        listed = list(outcomes)
        self.rows = [outcome for outcome in listed if outcome.status == "done"]
        self.failed = len(listed) - len(self.rows)

    def __len__(self) -> int:
        """How many were measured."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes."""
        return iter(self.rows)

    def where(self, **config: Any) -> "Results":
        """Those whose configuration has these values; a list or tuple of values means any of them.

        Raises:
            NoResultsError: There are none.
        """
        found = [row for row in self.rows if _matches(row.trial, config)]
        if not found:
            raise NoResultsError(f"no trial with {config} was measured ({self.failed} trials failed)")
        return Results(found)

    def by(self, name: str) -> "dict[Any, Results]":
        """The results for every value of a name, in the order of the design."""
        values = dict.fromkeys(row.trial[name] for row in self.rows)
        return {value: self.where(**{name: value}) for value in values}

    def values(self, metric: str) -> Array:
        """A metric of every trial."""
        return np.array([row.metrics[metric] for row in self.rows], dtype=np.float64)

    def curves(self, name: str) -> Array:
        """A curve of every trial, one a row, cut to the shortest."""
        found = [row.curves[name] for row in self.rows]
        length = min(map(len, found))
        return np.array([curve[:length] for curve in found], dtype=np.float64)

    def pairs(
        self, metric: str, first: Mapping[str, Any], second: Mapping[str, Any], *, ignoring: Sequence[str] = ()
    ) -> tuple[Array, Array]:
        """A metric under two conditions, paired by all that the conditions do not name (the seed among it).

        Args:
            metric: Its name.
            first: Values of the configuration, of the first column.
            second: Of the second.
            ignoring: Other names that need not agree, such as a learning rate that was tuned for each.

        Raises:
            NoResultsError: There is no pair.
        """
        names = {*first, *second, *ignoring}
        one, other = (
            {_rest(row, names): row.metrics[metric] for row in self.where(**condition)} for condition in (first, second)
        )
        shared = [key for key in one if key in other]
        if not shared:
            raise NoResultsError(f"no trial with {dict(first)} has a partner with {dict(second)}")
        columns = ([found[key] for key in shared] for found in (one, other))
        first_values, second_values = (np.array(column, dtype=np.float64) for column in columns)
        return first_values, second_values

    def line(self, label: str, x: str, metric: str) -> Series:
        """Medians of a metric against a name of the configuration, with quartiles, for a figure."""
        groups = self.by(x)
        values = [group.values(metric) for group in groups.values()]
        return Series(label, tuple(groups), *_spread(values))

    def curve_line(self, label: str, x: str, y: str, most: int = 120) -> Series:
        """The median of a curve over the trials, with quartiles, for a figure; thinned to `most` points."""
        xs, ys = self.curves(x)[0], self.curves(y)
        length = min(len(xs), ys.shape[1])
        kept = np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(int))
        return Series(label, tuple(map(float, xs[kept])), *_spread([ys[:, i] for i in kept]))


def _spread(values: Sequence[Array]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Medians and quartiles of each, by order statistics, so that infinities do no harm."""
    middle = tuple(float(statistics.median(v.tolist())) for v in values)
    low, high = (tuple(float(np.quantile(v, q, method="nearest")) for v in values) for q in (0.25, 0.75))
    return middle, low, high


def _matches(trial: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return all(
        trial[name] in wanted if isinstance(wanted, (list, tuple)) else trial[name] == wanted
        for name, wanted in config.items()
    )


def _rest(row: Outcome, names: set[str]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((name, value) for name, value in row.trial.items() if name not in names))
