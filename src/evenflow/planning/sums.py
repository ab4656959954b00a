r"""Where paths are added up: which is the skip, and what the others are multiplied by so that depth adds no variance.

A path that passed fewer layers of its own than every other, and shares its beginning with them, is the skip; the others
are residual branches. With $N$ such sums on one stream each branch ends with $1/\sqrt N$ of the size that it would
have, so that all of them together add as much variance as there was. Equal paths, as the tokens' and the positions'
embeddings, each get $1/\sqrt k$.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from evenflow.planning.layer import Layer, Network
from evenflow.probe.flow import Join, Origin

# A gate opens or closes a path and adds nothing to its size.
GATES = {"sigmoid", "hardsigmoid"}


@dataclass(frozen=True, slots=True)
class Residual:
    """A sum of a skip and branches; `merged` are all the layers that either passed, as bits."""

    skip: Origin
    branches: tuple[Origin, ...]
    merged: int


def weigh_sums(network: Network, joins: Iterable[Join]) -> None:
    """Write into the layers what their sums ask of them."""
    residuals = []
    for join in joins:
        if not join.summed:
            continue
        layers = tuple(sorted({index for path in join.paths for index in path.layers}))
        network.summed[layers] = tuple(path.layers for path in join.paths)
        skip = _skip(join.paths)
        merged = reduce(or_, (path.ancestors for path in join.paths))
        if skip is None:
            _weigh_equals(network.layers, join.paths)
        else:
            residuals.append(Residual(skip, tuple(path for path in join.paths if path is not skip), merged))
    for residual in residuals:
        _weigh_residual(network.layers, residual, sum(_same_stream(residual, other) for other in residuals))


def _skip(paths: Sequence[Origin]) -> Origin | None:
    """The path with the fewest layers of its own; None where the paths are equals."""
    own = []
    for path in paths:
        others = reduce(or_, (other.ancestors for other in paths if other is not path))
        own.append((path.ancestors & ~others).bit_count())
    fewest = min(own)
    shared = reduce(and_, (path.ancestors for path in paths))
    if own.count(fewest) > 1 or (fewest and not shared):
        return None
    return paths[own.index(fewest)]


def _same_stream(one: Residual, other: Residual) -> bool:
    """Whether one sum's skip carries the other's result, or they are the same."""
    return (
        one is other
        or (one.merged & other.skip.ancestors) == one.merged
        or (other.merged & one.skip.ancestors) == other.merged
    )


def _weigh_residual(layers: Sequence[Layer], residual: Residual, sums: int) -> None:
    for branch in residual.branches:
        for layer in _ends(layers, branch, residual.skip.ancestors):
            layer.sums = max(layer.sums, sums)
            layer.share = min(layer.share, 1 / math.sqrt(sums))


def _weigh_equals(layers: Sequence[Layer], paths: Sequence[Origin]) -> None:
    shared = reduce(and_, (path.ancestors for path in paths))
    ends = [layer for path in paths for layer in _ends(layers, path, shared)]
    for layer in ends:
        layer.share = min(layer.share, 1 / math.sqrt(len(ends)))


def _ends(layers: Sequence[Layer], path: Origin, before: int) -> list[Layer]:
    """The last layers of a path that lie behind its beginning."""
    found = [layers[index] for index in path.layers if not before >> index & 1]
    return [layer for layer in found if not (layer.activation and layer.activation[0] in GATES)]
