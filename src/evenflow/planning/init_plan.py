"""The plan: a row for every tensor of a model, which can be read, edited, written down, compared and carried out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from evenflow import checks
from evenflow.errors import ParameterTypeError, PlanError
from evenflow.planning import serial
from evenflow.planning.audit import Audit, audited, versions
from evenflow.planning.difference import PlanDifference, compare
from evenflow.planning.fit import require_fit
from evenflow.planning.row import Row
from evenflow.planning.table import as_text, row_table
from evenflow.planning.validate import validate
from evenflow.planning.writing import write
from evenflow.probe import unwrapped

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True)
class InitPlan:
    """What every parameter and buffer of a model becomes, and why.

    Attributes:
        model: Class of the model.
        scheme: The scheme that made it.
        seed: The seed that it is carried out with, unless another is given.
        rows: A row for each tensor: parameters in the order in which the data met them, then buffers.
        unknown: What could not be judged, one sentence each.
        notes: What the reader should know, one sentence each.
        audit: What `initialize_` wrote; None for a plan that was only made.
    """

    model: str
    scheme: str
    seed: int
    rows: tuple[Row, ...]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    audit: Audit | None = field(default=None, compare=False)
    target: nn.Module | None = field(default=None, repr=False, compare=False)
    again: Callable[[str], "InitPlan"] | None = field(default=None, repr=False, compare=False)

    def apply_(self, seed: int | None = None, *, model: nn.Module | None = None) -> Audit:
        """Write every row into the model. Each value depends on the seed, the tensor's name and its index alone.

        Everything is checked before anything is written: that rows and tensors belong together one to one, their
        shapes, and the numbers of every rule. Frozen parameters are written too. An interruption (Ctrl-C) in between
        leaves some tensors written and others not; to apply the plan again gives what an uninterrupted call would.

        Args:
            seed: Seed of the draws; the plan's own by default.
            model: The model to write to; by default the one that the plan was made for.

        Returns:
            What was written and what was left alone, checked against autograd's count of writes.

        Raises:
            PlanError: The plan does not fit the model, or was read from a file and no model is given.
            EvenflowError: What the initialiser of a rule raises for its tensor, with the tensor's name.
            ParameterTypeError: The seed is no integer, or the model no module.
            ParameterValueError: The seed does not fit 64 bits.

        Examples:
            >>> import torch
            >>> from evenflow.planning import plan
            >>> made = plan(torch.nn.Linear(8, 4))
            >>> print(made.apply_())
            2 tensors written once each (36 parameters)
        """
        key = self.seed if seed is None else checks.integer("seed", seed, low=-(2**63), high=2**63 - 1)
        target = self.target if model is None else unwrapped(model)
        if target is None:
            raise PlanError("this plan was read from a file and holds no model; pass apply_(model=...)")
        rows = tuple(map(validate, self.rows))
        tensors = require_fit(rows, target)
        before = versions(tensors)
        # A bias that balances a weight needs it to be there.
        for row in sorted(rows, key=lambda row: row.rule == "balance"):
            write(row, tensors[row.name], key, tensors)
        return audited(rows, tensors, before)

    def row(self, name: str) -> Row:
        """The row of a tensor, by its name or one of its aliases.

        Raises:
            PlanError: There is none.
        """
        for row in self.rows:
            if name == row.name or name in row.aliases:
                return row
        raise PlanError(f"the plan has no row {name!r}")

    def replace(self, name: str, **changes: Any) -> Self:
        """Return the plan with one row changed.

        Args:
            name: Name of the tensor.
            changes: Fields of its `Row`, such as `rule="normal", options={"mean": 0.0, "std": 0.02}`.

        Raises:
            PlanError: There is no such row or field, or the changed row makes no sense.

        Examples:
            >>> import torch
            >>> from evenflow.planning import plan
            >>> made = plan(torch.nn.Linear(8, 4)).replace("bias", options={"value": 0.5})
            >>> made.row("bias").options
            {'value': 0.5}
        """
        old = self.row(name)
        if "name" in changes or "shape" in changes:
            raise PlanError("the name and the shape of a row belong to the model; they cannot be changed")
        try:
            new = replace(old, **changes)
        except TypeError as error:
            raise PlanError(f"{name}: {error}") from None
        new = validate(new)
        return replace(self, rows=tuple(new if row is old else row for row in self.rows), audit=None)

    def diff(self, other: "InitPlan | str") -> PlanDifference:
        """What another plan, or another scheme for the same model, does differently.

        Args:
            other: A plan, or the name of a scheme such as "torch".

        Raises:
            PlanError: It is the name of a scheme, and this plan was read from a file.
            ParameterTypeError: It is neither.
            ParameterValueError: There is no such scheme.

        Examples:
            >>> import torch
            >>> from evenflow.planning import plan
            >>> [change.name for change in plan(torch.nn.Linear(8, 4)).diff("torch").changes]
            ['weight', 'bias']
        """
        if isinstance(other, str):
            if self.again is None:
                raise PlanError(
                    "this plan was read from a file and holds no model; pass another plan to compare it with"
                )
            other = self.again(other)
        if not isinstance(other, InitPlan):
            raise ParameterTypeError(f"other must be a plan or the name of a scheme; got {type(other).__name__}")
        return compare(self.scheme, self.rows, other.scheme, other.rows)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups of the model's trainable parameters for Adam, each with the learning rate that muP gives it.

        Args:
            lr: The learning rate that was chosen for the narrow model.

        Raises:
            PlanError: The plan was read from a file and holds no model.

        Examples:
            >>> import torch
            >>> from evenflow.planning import plan
            >>> made = plan(torch.nn.Linear(64, 4), mup_base=torch.nn.Linear(16, 4))
            >>> [(len(group["params"]), group["lr"]) for group in made.parameter_groups(0.01)]
            [(1, 0.0025), (1, 0.01)]
        """
        if self.target is None:
            raise PlanError("this plan was read from a file and holds no model")
        tensors = dict(self.target.named_parameters())
        groups: dict[float, list[nn.Parameter]] = {}
        for row in self.rows:
            if row.name in tensors and tensors[row.name].requires_grad:
                groups.setdefault(row.lr_scale, []).append(tensors[row.name])
        return [{"params": members, "lr": lr * scale} for scale, members in groups.items()]

    def table(self, *, fold: bool | None = None, width: int = 160) -> str:
        """The rows as text.

        Args:
            fold: Whether rows that differ in a number of their name, as equal blocks of a network do, become one; by
                default where there are more than 40.
            width: Columns of the page.
        """
        return as_text(row_table(self.rows, width, fold=fold), width)

    def __str__(self) -> str:
        """The head, the table, and what the reader should know."""
        return as_text(self, 160)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """The same, for a terminal."""
        from rich.text import Text

        yield Text.assemble((self.model, "bold"), f", scheme {self.scheme}, seed {self.seed}")
        yield row_table(self.rows, options.max_width)
        for label, lines in (("unknown", self.unknown), ("note", self.notes)):
            for line in lines:
                yield Text.assemble((f"{label}: ", "bold"), line)

    def to_dict(self) -> dict[str, Any]:
        """The plan as dictionaries, lists, strings and numbers."""
        return serial.plan_to_dict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` gave.

        Raises:
            PlanError: It is no such thing, or a row makes no sense.
        """
        return cls(**serial.plan_from_dict(data))

    def to_json(self) -> str:
        """The plan as JSON."""
        return serial.to_json(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` gave.

        Raises:
            PlanError: It is no JSON, or no plan.
        """
        return cls.from_dict(serial.from_json(text))

    def to_toml(self) -> str:
        """The plan as TOML, to be edited by hand."""
        return serial.to_toml(self.to_dict())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` gave.

        Raises:
            PlanError: It is no TOML, or no plan.
        """
        return cls.from_dict(serial.from_toml(text))
