"""Holm's correction: many claims are tested, so each must be clearer."""

from collections.abc import Sequence
from dataclasses import replace

from evenflow.lab.verdict import LEVEL, Verdict


def adjusted(ps: Sequence[float]) -> list[float]:
    r"""Adjust p values so that the chance of any false one is kept.

    $$ \tilde p_{(i)} = \max_{j \le i} \min\{(m - j + 1)\, p_{(j)},\ 1\} $$

    Args:
        ps: The p values of all that is tested.

    Returns:
        The adjusted ones, in the same order.

    Examples:
        >>> [round(p, 3) for p in adjusted([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    result, running = [1.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        running = max(running, min(1.0, (len(ps) - rank) * ps[index]))
        result[index] = running
    return result


def corrected(verdicts: Sequence[Verdict]) -> list[tuple[Verdict, float | None]]:
    """Correct the verdicts of several claims for their number.

    Returns:
        Each verdict with its adjusted p; one that this leaves above 0.05 has become inconclusive. Verdicts in
        which nothing is random have no p and are left alone; so are those that are inconclusive by themselves.
    """
    tested = [i for i, v in enumerate(verdicts) if v.p is not None and v.word != "inconclusive"]
    values = adjusted([v.p for v in verdicts if v.p is not None and v.word != "inconclusive"])
    ps = dict(zip(tested, values, strict=True))
    return [
        (replace(v, word="inconclusive") if ps.get(i, 0.0) > LEVEL else v, ps.get(i, v.p))
        for i, v in enumerate(verdicts)
    ]
