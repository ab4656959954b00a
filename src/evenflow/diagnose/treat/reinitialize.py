"""Draw weights again, by the rule of the activation that follows them."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from inspect import signature
from itertools import groupby
from typing import ClassVar

import torch
from torch import nn

from evenflow import init
from evenflow.diagnose.treat.remedy import Undo, some
from evenflow.errors import TreatmentError
from evenflow.random import Stream
from evenflow.theory import Fans


@dataclass(frozen=True, slots=True)
class Redraw:
    """How one weight is drawn again; the bias beside it becomes zero.

    Attributes:
        parameter: Qualified name of the weight.
        rule: A function of `evenflow.init` that takes fans, such as "he_normal_".
        fan_in: Fan-in of the weight.
        fan_out: Fan-out of the weight.
        options: Further keyword arguments of the rule.
        bias: Qualified name of the bias; None where there is none.
    """

    parameter: str
    rule: str
    fan_in: float
    fan_out: float
    options: Mapping[str, float] = field(default_factory=dict)
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class Reinitialize:
    """Draw the weights of these layers again and set their biases to zero. Their present values are lost.

    Attributes:
        draws: What is drawn, in execution order.
        seed: Seed of the addressed streams; each is named after its parameter.
    """

    kind: ClassVar[str] = "reinitialize"
    applies_itself: ClassVar[bool] = True
    draws: tuple[Redraw, ...]
    seed: int = 0

    def describe(self) -> str:
        """The remedy in one sentence."""
        rules = " and ".join(dict.fromkeys(draw.rule for draw in self.draws))
        biases = ", biases to zero" if any(draw.bias for draw in self.draws) else ""
        return f"re-initialise {some(draw.parameter for draw in self.draws)} by {rules}{biases}"

    def code(self) -> str:
        """Python that does the same to a variable called `model`, bit for bit."""
        lines = ["import evenflow as ef", "", "weights = dict(model.named_parameters())"]
        for (rule, options), group in groupby(self.draws, key=lambda d: (d.rule, tuple(d.options.items()))):
            draws = list(group)
            arguments = "".join(f", {key}={value!r}" for key, value in options)
            lines.append("for name, fan_in, fan_out in [")
            lines.extend(f"    ({d.parameter!r}, {_number(d.fan_in)}, {_number(d.fan_out)})," for d in draws)
            lines.append("]:")
            lines.append(
                f"    ef.init.{rule}(weights[name]{arguments}, fans=ef.Fans(fan_in, fan_out), "
                f"stream=ef.random.Stream({self.seed}, name))"
            )
            biases = [d.bias for d in draws if d.bias]
            if biases:
                lines.append(f"for name in {biases!r}:")
                lines.append("    ef.init.zeros_(weights[name])")
        return "\n".join(lines)

    def apply_(self, model: nn.Module) -> Undo:
        """Draw the weights in place.

        Raises:
            TreatmentError: A parameter is not in the model or is frozen, or there is no such rule.
            EvenflowError: What the rule raises. Nothing has been changed in either case.
        """
        parameters = self._checked(dict(model.named_parameters(remove_duplicate=False)))
        before = [(parameter, parameter.detach().clone()) for parameter in parameters.values()]

        def undo() -> None:
            with torch.no_grad():
                for parameter, value in before:
                    parameter.copy_(value)

        with ExitStack() as on_failure:
            on_failure.callback(undo)
            for draw in self.draws:
                self._draw(draw, parameters)
            on_failure.pop_all()
        return undo

    def _draw(self, draw: Redraw, parameters: Mapping[str, nn.Parameter]) -> None:
        getattr(init, draw.rule)(
            parameters[draw.parameter],
            **draw.options,
            fans=Fans(draw.fan_in, draw.fan_out),
            stream=Stream(self.seed, draw.parameter),
        )
        if draw.bias:
            init.zeros_(parameters[draw.bias])

    def _checked(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """The parameters that will change, once it is clear that they can."""
        names = list(dict.fromkeys(name for draw in self.draws for name in (draw.parameter, draw.bias) if name))
        missing = [name for name in names if name not in parameters]
        if missing:
            raise TreatmentError(
                f"the model has no parameter {some(missing)}; the prescription was written for another model: "
                "check this one and treat it by its own diagnosis"
            )
        frozen = [name for name in names if not parameters[name].requires_grad]
        if frozen:
            raise TreatmentError(
                f"{some(frozen)} is frozen (requires_grad=False) and must not change; unfreeze it, or leave it out of "
                "the prescription"
            )
        for draw in self.draws:
            _check_rule(draw)
        return {name: parameters[name] for name in names}

    def to_dict(self) -> dict[str, object]:
        """The remedy as a dictionary that JSON can hold."""
        return {"kind": self.kind, **asdict(self)}


def _check_rule(draw: Redraw) -> None:
    rule = getattr(init, draw.rule, None) if draw.rule in init.__all__ else None
    if rule is None:
        raise TreatmentError(f"evenflow.init has no rule {draw.rule!r} for {draw.parameter}; see evenflow.init.__all__")
    try:
        signature(rule).bind(None, **draw.options, fans=None, stream=None)
    except TypeError as error:
        raise TreatmentError(
            f"evenflow.init.{draw.rule} cannot draw {draw.parameter} with the options {dict(draw.options)!r}: {error}"
        ) from error


def _number(value: float) -> str:
    """A fan as Python reads it back exactly, and as short as that allows."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
