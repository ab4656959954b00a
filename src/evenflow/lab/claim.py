"""A claim: a file that says what is claimed, predicted, tried, measured, concluded and shown."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from evenflow.errors import ClaimError
from evenflow.lab.budget import Budget
from evenflow.lab.figure import Figure
from evenflow.lab.prediction import Prediction
from evenflow.lab.results import Results
from evenflow.lab.trial import Measurement, Trial, identity
from evenflow.lab.verdict import Verdict

TEXTS = {"ID": str, "TITLE": str, "STATEMENT": str, "SOURCE": str, "PREDICTION": Prediction}
FUNCTIONS = ("design", "verdict", "figure")
# What a trial's numbers do not follow from.
TOLD = {*TEXTS, "verdict", "figure"}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a file of claims says.

    Attributes:
        id: Short name, such as "T1".
        title: What it is about, in a few words.
        statement: The claim.
        source: Where it comes from.
        prediction: What should be seen if it is true.
        design: From a budget to the trials.
        verdict: From results to a verdict.
        figure: From results to a figure.
        measure: From a trial to its numbers; None where trials run together.
        measure_together: From trials that differ in `together` only to the numbers of each; None otherwise.
        together: Names of the configuration that may differ between trials that run together.
        exclusive: Whether its trials must not share the machine, because they measure time.
        code: A hash of all that the numbers of a trial follow from in the file.
    """

    id: str
    title: str
    statement: str
    source: str
    prediction: Prediction
    design: Callable[[Budget], Sequence[Trial]]
    verdict: Callable[[Results], Verdict]
    figure: Callable[[Results], Figure]
    measure: Callable[[Trial], Measurement] | None
    measure_together: Callable[[Sequence[Trial]], Sequence[Measurement]] | None
    together: tuple[str, ...]
    exclusive: bool
    code: str

    @property
    def predicted(self) -> str:
        """A hash of the statement and the prediction."""
        return self.prediction.digest(self.statement)

    @classmethod
    def of_module(cls, module: ModuleType, text: str) -> "Claim":
        """Read a claim from the names that its module defines.

        Args:
            module: The module.
            text: Its source.

        Raises:
            ClaimError: A name is missing or of the wrong kind.
        """
        told = vars(module)
        for name, kind in TEXTS.items():
            if not isinstance(told.get(name), kind):
                raise ClaimError(f"{module.__name__} must define {name}, a {kind.__name__}; got {told.get(name)!r}")
        for name in FUNCTIONS:
            if not callable(told.get(name)):
                raise ClaimError(f"{module.__name__} must define a function {name}; got {told.get(name)!r}")
        measure, together = told.get("measure"), told.get("measure_together")
        if (measure is None) == (together is None):
            raise ClaimError(f"{module.__name__} must define one of measure(trial) and measure_together(trials)")
        if together is not None and not told.get("TOGETHER"):
            raise ClaimError(f'{module.__name__} must define TOGETHER, such as ("seed",), beside measure_together')
        return cls(
            id=told["ID"],
            title=told["TITLE"],
            statement=told["STATEMENT"],
            source=told["SOURCE"],
            prediction=told["PREDICTION"],
            design=told["design"],
            verdict=told["verdict"],
            figure=told["figure"],
            measure=cast("Any", measure),
            measure_together=cast("Any", together),
            together=tuple(told.get("TOGETHER", ())),
            exclusive=bool(told.get("EXCLUSIVE", False)),
            code=identity(measuring_code(text)),
        )

    def jobs(self, trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
        """Group trials into those that are measured in one go, in the order of the design."""
        if self.measure_together is None:
            return [(trial,) for trial in trials]
        groups: dict[tuple[tuple[str, Any], ...], list[Trial]] = {}
        for trial in trials:
            shared = tuple(sorted((name, value) for name, value in trial.items() if name not in self.together))
            groups.setdefault(shared, []).append(trial)
        return [tuple(group) for group in groups.values()]

    def judged(self, results: Results) -> Verdict:
        """The verdict, after a look that it keeps to the prediction.

        Raises:
            ClaimError: The checks are not those that the prediction names, each once.
        """
        found = self.verdict(results)
        names = [check.name for check in found.checks]
        if sorted(names) != sorted(self.prediction.ranges):
            raise ClaimError(
                f"the verdict of {self.id} checks {names}; the prediction names {list(self.prediction.ranges)}: each "
                "must be checked, once"
            )
        return found


def measuring_code(text: str) -> str:
    """The code of a claim's file that the numbers of its trials follow from: without texts, verdict and figure.

    Examples:
        >>> one = 'STATEMENT = "a"' + chr(10) + 'x = 1  # why'
        >>> other = 'STATEMENT = "b"' + chr(10) + 'x = 1'
        >>> measuring_code(one) == measuring_code(other) != measuring_code("x = 2")
        True
    """
    kept = [node for node in ast.parse(text).body if not _told(node)]
    return "\n".join(ast.dump(without_docstrings(node)) for node in kept)


def without_docstrings(tree: ast.AST) -> ast.AST:
    """Empty the docstrings below a node, in place."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                value.value = ""
    return tree


def _told(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in TOLD
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id in TOLD for target in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
