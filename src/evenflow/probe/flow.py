"""What is known of each tensor while a network runs: which layers it passed, or which parameters it was made of."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor came from.

    `layers` are the last that it passed, `ancestors` all that it ever passed, as bits; it is `fresh` while no
    activation followed.
    """

    layers: tuple[int, ...] = ()
    ancestors: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Several paths that became one tensor: by a sum, or else side by side."""

    paths: tuple[Origin, ...]
    summed: bool


class Flow:
    """The origins of signals and the owners of weights, without keeping any activation alive.

    A tensor is *owned* when it is a parameter or a buffer, or was computed from those alone: a transposed, masked or
    normalised weight is owned by its parameter. The model's own tensors stay owned when the signal is written to them,
    as running statistics are.

    Attributes:
        bypassed: Indices of the layers that another path leads around.
        joins: The paths of every place where several came together, in execution order.
    """

    def __init__(self, model: nn.Module) -> None:
        self.bypassed: set[int] = set()
        self.joins: list[Join] = []
        self._origins: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._owners: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._made: WeakIdKeyDictionary = WeakIdKeyDictionary()
        named = [*((name, t) for name, t in model.named_parameters()), *(("", t) for t in model.buffers())]
        self._own = {id(tensor): tensor for _, tensor in named}
        for name, tensor in named:
            self._owners[tensor] = (name,) if name else ()

    def origin(self, tensor: Tensor) -> Origin | None:
        """The layers that a tensor passed; None where that is not known."""
        found: Origin | None = self._origins.get(tensor)
        return found

    def is_owned(self, tensor: Tensor) -> bool:
        """Whether a tensor was made of parameters and buffers alone."""
        return tensor in self._owners and tensor not in self._origins

    def is_lost(self, tensor: Tensor) -> bool:
        """Whether nothing in sight made a tensor: a scripted function did, or one that left torch on its way."""
        return not any(tensor in known for known in (self._origins, self._owners, self._made))

    def owners(self, tensors: Iterable[Tensor]) -> tuple[str, ...]:
        """Names of the parameters that the owned ones among the tensors were made of, each once."""
        return tuple(dict.fromkeys(name for t in tensors if self.is_owned(t) for name in self._owners[t]))

    def put(self, tensors: Iterable[Tensor], origin: Origin) -> None:
        """Set the origin of tensors, unless they are the model's own."""
        for tensor in tensors:
            if id(tensor) not in self._own:
                self._origins[tensor] = origin

    def pass_on(self, operands: Sequence[Tensor], results: Iterable[Tensor]) -> None:
        """Give the results of a function the origin, or else the owners, of its operands."""
        origin = self.merged(operands)
        if origin is not None:
            self.put(results, origin)
            return
        names = self.owners(operands)
        is_owned = names or (operands and all(t in self._owners for t in operands))
        is_made = not any(map(self.is_lost, operands))
        for tensor in results:
            if is_owned:
                self._owners[tensor] = names
            elif is_made:
                self._made[tensor] = True

    def merged(self, operands: Iterable[Tensor]) -> Origin | None:
        """The common origin of several tensors; None when none of them has one."""
        origins = self._distinct(operands)
        if len(origins) < 2:
            return origins[0] if origins else None
        layers = {index for origin in origins for index in origin.layers}
        ancestors = reduce(or_, (origin.ancestors for origin in origins))
        return Origin(tuple(sorted(layers)), ancestors, any(origin.fresh for origin in origins))

    def join(self, paths: Sequence[Tensor], *, summed: bool, broadcast: Sequence[Tensor] = ()) -> None:
        """Note that paths come together: the layers that only some of them passed are bypassed by the others.

        What is `broadcast` to the others, as embedded positions are to every sample, joins them and bypasses nothing.
        """
        origins = self._distinct(paths)
        if len(origins) > 1:
            ancestors = [origin.ancestors for origin in origins]
            self.bypassed.update(indices(reduce(or_, ancestors) & ~reduce(and_, ancestors)))
        together = self._distinct([*paths, *broadcast])
        if len(together) > 1:
            self.joins.append(Join(tuple(together), summed))

    def _distinct(self, tensors: Iterable[Tensor]) -> list[Origin]:
        return list(dict.fromkeys(self._origins[t] for t in tensors if t in self._origins))


def indices(number: int) -> Iterator[int]:
    """The layers whose bits are set in a number."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
