"""How much a run may cost."""

from dataclasses import dataclass
from typing import TypeVar

from evenflow import checks

BUDGETS = ("quick", "normal", "full")
STRIDE = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a run may cost, and which seeds and data it uses.

    Attributes:
        name: "quick" (all claims in six minutes on two cores), "normal", or "full" (the sizes of the papers).
        base_seed: Runs with other base seeds share no seed.
        data: The data set that replaces a claim's own, as `evenflow.lab.data` names it; None for the claim's own.

    Raises:
        ParameterValueError: There is no such budget, or the seed is out of range.
    """

    name: str = "quick"
    base_seed: int = 0
    data: str | None = None

    def __post_init__(self) -> None:
        checks.choice("budget", self.name, BUDGETS)
        checks.integer("seed", self.base_seed, low=0, high=10**6)

    def pick(self, quick: T, normal: T, full: T) -> T:
        """The value for this budget.

        Examples:
            >>> Budget("normal").pick(10, 30, 300)
            30
        """
        return {"quick": quick, "normal": normal, "full": full}[self.name]

    def seeds(self, quick: int, normal: int, full: int) -> tuple[int, ...]:
        """As many seeds as this budget affords.

        Examples:
            >>> Budget("quick", base_seed=2).seeds(3, 10, 30)
            (2000, 2001, 2002)
        """
        first = self.base_seed * STRIDE
        return tuple(range(first, first + self.pick(quick, normal, full)))
