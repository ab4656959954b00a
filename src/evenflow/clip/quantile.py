r"""Quantiles of a stream of positive numbers in bounded memory.

A number $x$ is counted in the bucket $\lceil \log_\gamma x \rceil$ with $\gamma = (1 + \alpha) / (1 - \alpha)$. The
middle of a bucket, $2 \gamma^i / (\gamma + 1)$, is within a share $\alpha$ of every number in it, so a quantile is
within $\alpha$ of the exact one, whatever the distribution and whatever the order of the stream (Masson, Rim & Lee
2019, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees"). When there are too many
buckets the lowest are joined: only quantiles far below all others lose their guarantee.
"""

import math
from typing import Any

from evenflow import checks
from evenflow.errors import StateError

ACCURACY = 0.005
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
MOST = 2048
"""Buckets: their numbers span nine decades."""


class StreamingQuantile:
    """Counts of numbers in logarithmic buckets."""

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.zeros = 0
        self.count = 0
        self.low, self.high = math.inf, 0.0

    def add(self, value: float) -> None:
        """Count a finite number of at least 0."""
        self.count += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        if value == 0:
            self.zeros += 1
            return
        bucket = math.ceil(math.log(value) / _LOG_GAMMA)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if len(self.buckets) > MOST:
            lowest, second = sorted(self.buckets)[:2]
            self.buckets[second] += self.buckets.pop(lowest)

    def quantile(self, share: float) -> float:
        """Return the number below which a share of the stream lies, within 0.5 %.

        Args:
            share: In [0, 1].

        Examples:
            >>> stream = StreamingQuantile()
            >>> for value in range(1, 101):
            ...     stream.add(value)
            >>> round(stream.quantile(0.5)), round(stream.quantile(0.9))
            (50, 90)
        """
        rank = share * (self.count - 1)
        if rank < self.zeros:
            return 0.0
        seen = self.zeros
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                middle = 2 * math.exp(bucket * _LOG_GAMMA) / (_GAMMA + 1)
                return min(max(middle, self.low), self.high)
        return self.high

    def state(self) -> dict[str, Any]:
        """Return everything as plain numbers and lists."""
        buckets = sorted(self.buckets.items())
        return {
            "buckets": [bucket for bucket, _ in buckets],
            "counts": [count for _, count in buckets],
            "zeros": self.zeros,
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> "StreamingQuantile":
        """Return the one that had this state.

        Raises:
            StateError: It is not such a state.
        """
        made = cls()
        try:
            made.buckets = dict(zip(state["buckets"], state["counts"], strict=True))
            made.zeros = checks.integer("zeros", state["zeros"], low=0)
            made.low, made.high = float(state["low"]), float(state["high"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the state of a quantile must hold buckets, counts, zeros, low and high ({error})"
            ) from error
        made.count = made.zeros + sum(made.buckets.values())
        return made
