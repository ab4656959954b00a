"""Plans as dictionaries, JSON and TOML, and back."""

import json
import tomllib
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from evenflow.errors import PlanError
from evenflow.planning.row import Row
from evenflow.planning.validate import validate
from evenflow.theory import Fans

if TYPE_CHECKING:
    from evenflow.planning.init_plan import InitPlan

# Raised when the meaning of what is written changes.
FORMAT = 1

_HEAD: dict[str, type] = {
    "format": int,
    "model": str,
    "scheme": str,
    "seed": int,
    "rows": list,
    "unknown": list,
    "notes": list,
}
_ROW: dict[str, tuple[type, ...]] = {
    "name": (str,), "kind": (str,), "shape": (list, tuple), "rule": (str,), "options": (dict,), "layer": (str,),
    "role": (str,), "activation": (str,), "fans": (list, tuple), "gain": (int, float), "aim": (int, float),
    "measured": (int, float), "lr_scale": (int, float), "reason": (str,), "aliases": (list, tuple),
}  # fmt: skip


def plan_to_dict(plan: "InitPlan") -> dict[str, Any]:
    """The plan without its model."""
    return {
        "format": FORMAT,
        "model": plan.model,
        "scheme": plan.scheme,
        "seed": plan.seed,
        "unknown": list(plan.unknown),
        "notes": list(plan.notes),
        "rows": [_row_to_dict(row) for row in plan.rows],
    }


def _row_to_dict(row: Row) -> dict[str, Any]:
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    values["options"] = {key: list(v) if isinstance(v, tuple) else v for key, v in row.options.items()}
    values["fans"] = None if row.fans is None else [row.fans.fan_in, row.fans.fan_out]
    values |= {key: list(values[key]) for key in ("shape", "aliases")}
    return {key: value for key, value in values.items() if value is not None}


def plan_from_dict(data: object) -> dict[str, Any]:
    """The arguments of the plan that a dictionary describes.

    Raises:
        PlanError: It describes none.
    """
    head = _typed(data, {key: (kind,) for key, kind in _HEAD.items()}, "the plan")
    missing = [key for key in ("format", "model", "scheme", "seed", "rows") if key not in head]
    if missing:
        raise PlanError(f"the plan has no {missing[0]!r}")
    if head["format"] != FORMAT:
        raise PlanError(f"the plan has format {head['format']}, and this version of evenflow reads {FORMAT}")
    texts = {key: tuple(map(str, head.get(key, ()))) for key in ("unknown", "notes")}
    rows = tuple(_row_from_dict(row, place) for place, row in enumerate(head["rows"]))
    return {"model": head["model"], "scheme": head["scheme"], "seed": head["seed"], "rows": rows, **texts}


def _row_from_dict(data: object, place: int) -> Row:
    where = f"row {place}"
    values = _typed(data, _ROW, where)
    required = [f.name for f in fields(Row) if f.default is MISSING and f.default_factory is MISSING]
    missing = [key for key in required if key not in values]
    if missing:
        raise PlanError(f"{where} has no {missing[0]!r}")
    values["shape"] = tuple(_integers(values["shape"], f"{where}: shape"))
    values["aliases"] = tuple(map(str, values.get("aliases", ())))
    options = values.get("options", {})
    values["options"] = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    if "fans" in values:
        if len(values["fans"]) != 2 or not all(isinstance(fan, (int, float)) for fan in values["fans"]):
            raise PlanError(f"{where}: fans must be two numbers; got {values['fans']!r}")
        values["fans"] = Fans(*map(float, values["fans"]))
    return validate(Row(**values))


def _integers(values: Any, what: str) -> list[int]:
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        raise PlanError(f"{what} must be a list of sizes; got {values!r}")
    return list(values)


def _typed(data: object, kinds: dict[str, tuple[type, ...]], what: str) -> dict[str, Any]:
    """A copy of a dictionary whose keys are known and whose values are of the right types."""
    if not isinstance(data, dict):
        raise PlanError(f"{what} must be a dictionary; got {type(data).__name__}")
    for key, value in data.items():
        if key not in kinds:
            raise PlanError(f"{what} has no field {key!r}; it has {', '.join(kinds)}")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise PlanError(f"{what}: {key} must be {kinds[key][0].__name__}; got {value!r}")
    return dict(data)


def to_json(data: dict[str, Any]) -> str:
    """JSON that other languages can read: infinite bounds are strings."""
    return json.dumps(_finite(data), indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> Any:
    """The data of a JSON document.

    Raises:
        PlanError: It is no JSON.
    """
    try:
        return _endless(json.loads(text))
    except json.JSONDecodeError as error:
        raise PlanError(f"the plan is no JSON: {error}") from None


def to_toml(data: dict[str, Any]) -> str:
    """TOML with a table for each row."""
    import tomli_w

    return tomli_w.dumps(data)


def from_toml(text: str) -> Any:
    """The data of a TOML document.

    Raises:
        PlanError: It is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"the plan is no TOML: {error}") from None


_WORDS = {"inf": float("inf"), "-inf": float("-inf")}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and value in _WORDS.values() else value


def _endless(data: Any) -> Any:
    """Bounds that were written as strings, back as numbers."""
    for row in data.get("rows", []) if isinstance(data, dict) else []:
        options = row.get("options") if isinstance(row, dict) else None
        if isinstance(options, dict):
            ends = {key: _WORDS[options[key]] for key in ("low", "high") if options.get(key) in _WORDS}
            options.update(ends)
    return data
