"""One trial: a claim, a configuration, and what measuring it gave."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import product
from typing import Any, Literal

from evenflow.errors import ClaimError

Value = str | int | float | bool | None


class Trial(Mapping[str, Any]):
    """A configuration, read by name; equal configurations are equal trials.

    Args:
        config: Names and plain values. `seed` must be among them: trials that differ in other names only are paired.

    Raises:
        ClaimError: There is no integer `seed`, or a value is no string, number, boolean or None.

    Examples:
        >>> trial = Trial({"scheme": "zeros", "seed": 3})
        >>> trial["scheme"], trial.seed
        ('zeros', 3)
    """

    __slots__ = ("_config", "text")

    def __init__(self, config: Mapping[str, Value]) -> None:
        for name, value in config.items():
            if not isinstance(value, (str, int, float, bool, type(None))):
                raise ClaimError(
                    f"the configuration of a trial holds plain values; {name!r} is a {type(value).__name__}"
                )
        if type(config.get("seed")) is not int:
            raise ClaimError(f"the configuration of a trial must have an integer seed; got {dict(config)}")
        self._config = dict(config)
        self.text = json.dumps(self._config, sort_keys=True)

    @property
    def seed(self) -> int:
        """What every draw of the trial follows from."""
        seed = self._config["seed"]
        assert isinstance(seed, int)  # looked at by the constructor
        return seed

    def __getitem__(self, name: str) -> Any:
        """A value of the configuration."""
        return self._config[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the configuration."""
        return iter(self._config)

    def __len__(self) -> int:
        """The number of names."""
        return len(self._config)

    def __eq__(self, other: object) -> bool:
        """Whether the configurations are equal."""
        return isinstance(other, Trial) and self.text == other.text

    def __hash__(self) -> int:
        """A hash of the configuration."""
        return hash(self.text)

    def __repr__(self) -> str:
        """The configuration."""
        return f"Trial({self._config})"


def grid(seeds: Sequence[int], **values: Sequence[Value] | Value) -> list[Trial]:
    """All combinations of the values, each with every seed.

    Args:
        seeds: The seeds.
        values: For each name the values that it takes; a single value need not be in a list.

    Examples:
        >>> [trial["depth"] for trial in grid([0, 1], depth=(5, 10), scheme="zeros")]
        [5, 5, 10, 10]
    """
    axes = [
        list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for value in values.values()
    ]
    return [
        Trial({**dict(zip(values, chosen, strict=True)), "seed": seed}) for chosen in product(*axes) for seed in seeds
    ]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a trial gave.

    Attributes:
        metrics: Numbers by name; NaN and infinity are allowed.
        curves: Sequences of numbers by name, such as "step" and "loss".
    """

    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial.

    Attributes:
        trial: The trial.
        status: "done" or "failed".
        metrics: Its numbers.
        curves: Its curves.
        error: The traceback of a trial that failed; empty otherwise.
        seconds: How long it took; of trials that ran together, their share.
    """

    trial: Trial
    status: Literal["done", "failed"]
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def identity(*parts: str) -> str:
    """A hash of several texts: 24 hexadecimal digits."""
    return blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
