"""Make a plan for a model, and carry it out."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from evenflow import checks
from evenflow.errors import ModelError, NoParametersError, ParameterTypeError, ParameterValueError
from evenflow.planning.correct import Correction
from evenflow.planning.draft import Draft
from evenflow.planning.fit import require_fit
from evenflow.planning.follow import follow
from evenflow.planning.init_plan import InitPlan
from evenflow.planning.layer import Layer, Network
from evenflow.planning.loose import buffer_rows, loose_rows
from evenflow.planning.mup import with_mup
from evenflow.planning.only import names_in, only_these
from evenflow.planning.row import PARAMETER, Row
from evenflow.planning.rules import rule_for
from evenflow.planning.rules.unknown import unknown_rows
from evenflow.planning.schemes import MEASURED, SCHEMES, scheme_rows, torch_rows
from evenflow.planning.structure import network_of_modules
from evenflow.planning.writing import write
from evenflow.probe import unwrapped
from evenflow.probe.batch import Batch, parse_batch
from evenflow.probe.forward import forward, undisturbed

NAMES = ("auto", *SCHEMES, "torch")


def plan(
    model: nn.Module,
    batch: object = None,
    scheme: str = "auto",
    *,
    seed: int = 0,
    zero_gamma: bool = False,
    mup_base: nn.Module | None = None,
    only: Iterable[str] | None = None,
) -> InitPlan:
    """Decide what every parameter and buffer of a model should become, and why. The model stays what it is.

    With a batch the model is run twice, in training mode and without dropout. First to follow the data: which function
    lies behind each weight, where paths are added up or laid side by side, what normalises, what is shared. Then, under
    "auto" and "lsuv", with the planned weights, each of which is scaled as the data reaches it until its layer's output
    has the size that the rule means it to have. Without a batch the plan is made from the modules alone, and says so.

    | scheme | what it does |
    |---|---|
    | `auto` | a rule for each layer by what the data does around it, then one pass of corrections |
    | `zeros`, `constant` (0.1), `random_uniform` (+-0.05), `random_normal` (0.05) | every weight alike |
    | `glorot_uniform`, `glorot_normal`, and the same of `he` and `lecun` | by the layer's fans |
    | `orthogonal` | every matrix, each gate and each group by itself |
    | `lsuv` | orthogonal, then unit variance at every layer on the batch, in the order of execution |
    | `torch` | what torch's own layers draw when they are built |

    Args:
        model: Any eager module; compiled and data-parallel wrappers are looked through. On the meta device it can be
            planned without a batch.
        batch: `(inputs, targets)`, a tensor, or a dict of keyword inputs, as for `evenflow.check`.
        scheme: The scheme.
        seed: Seed of the draws; with a tensor's name and an element's index it decides each value.
        zero_gamma: Whether "auto" starts residual branches at zero, in their last norm or weight, and not at one over
            the root of their number.
        mup_base: The same model at the width where the learning rate was chosen, on any device, for the multipliers
            of muP: `Row.lr_scale`, `InitPlan.parameter_groups`, and the size of the outputs.
        only: Names of parameters, buffers or modules; all other tensors keep their values. A tied tensor is meant when
            all its names are given, or a module that holds it: what a checkpoint lacks under one name may have come
            with the other.

    Raises:
        ParameterTypeError: `model` is no module, `scheme` no string, `seed` no integer, or `only` no list of strings.
        ParameterValueError: There is no such scheme, or nothing of a name in `only`; "lsuv" without a batch; `seed`
            does not fit 64 bits.
        NoParametersError: The model has no parameters.
        PlanError: `mup_base` has other parameters.
        ModelError: It is scripted, lazy, or was built under inference mode; or, with a batch, it raises, lies on the
            meta device, or is sharded.
        BatchError: The batch has an unknown form or is empty.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> row = plan(model, torch.randn(128, 64)).row("2.weight")
        >>> row.rule, row.fans, round(row.aim, 2)
        ('orthogonal', Fans(fan_in=64.0, fan_out=10.0), 0.48)

    References:
        He et al. 2015, equation 10, for rectifiers. Schoenholz et al. 2017, "Deep information propagation", for the
        critical line. Mishkin & Matas 2016, "All you need is a good init", for LSUV. Zhang et al. 2019, "Fixup
        initialization", and Radford et al. 2019, section 2.3, for residual branches. Jozefowicz et al. 2015 for the
        forget gate. Yang et al. 2022, "Tensor Programs V", table 3, for muP.
    """
    seed = checks.integer("seed", seed, low=-(2**63), high=2**63 - 1)
    outer, model = model, unwrapped(model)
    _require_plannable(model, scheme, batch, mup_base)
    chosen = None if only is None else names_in(only, outer)
    if batch is None:
        if scheme in MEASURED:
            raise ParameterValueError(f"scheme {scheme!r} measures the layers on data; pass a batch")
        network = network_of_modules(model)
        rows = _rows(network, scheme, zero_gamma=zero_gamma, mup_base=mup_base, only=chosen)
    else:
        parsed = parse_batch(batch)
        with undisturbed(model), torch.no_grad():
            network = follow(model, parsed)
            rows = _rows(network, scheme, zero_gamma=zero_gamma, mup_base=mup_base, only=chosen)
            if scheme == "auto" or scheme in MEASURED:
                rows = _corrected(network, rows, parsed, seed)
    again = partial(plan, model, batch, seed=seed, zero_gamma=zero_gamma, mup_base=mup_base, only=chosen)
    return InitPlan(
        model=type(model).__name__,
        scheme=scheme,
        seed=seed,
        rows=tuple(rows.values()),
        unknown=tuple(network.unknown),
        notes=tuple(network.notes),
        target=model,
        again=lambda other: again(scheme=other),
    )


def initialize_(
    model: nn.Module,
    batch: object = None,
    *,
    scheme: str = "auto",
    seed: int = 0,
    zero_gamma: bool = False,
    mup_base: nn.Module | None = None,
    only: Iterable[str] | None = None,
) -> InitPlan:
    """Initialise a model in place by the plan that `plan` makes, and return that plan with its audit.

    Every parameter is written once, buffers that count batches or hold running statistics start anew, and all else is
    left alone: other buffers, modes, gradients, `requires_grad`, hooks, the random states of torch, NumPy and Python.
    A value depends on the seed, the tensor's name and the element's index, on nothing else.

    Args:
        model: As for `plan`; also on any device, or sharded (DTensor), where each rank writes its own elements.
        batch: As for `plan`.
        scheme: As for `plan`.
        seed: As for `plan`.
        zero_gamma: As for `plan`.
        mup_base: As for `plan`.
        only: As for `plan`: `only=missing_keys` leaves loaded weights alone.

    Raises:
        PlanError: A parameter lies on the meta device, or two share memory without being one.
        EvenflowError: What `plan` raises. Nothing has been written in either case.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> made = initialize_(model, torch.randn(128, 64))
        >>> print(made.audit)
        4 tensors written once each (4,810 parameters)
    """
    made = plan(model, batch, scheme, seed=seed, zero_gamma=zero_gamma, mup_base=mup_base, only=only)
    return replace(made, audit=made.apply_())


def _require_plannable(model: nn.Module, scheme: str, batch: object, mup_base: object) -> None:
    if not isinstance(scheme, str):
        raise ParameterTypeError(f"scheme must be a string; got {scheme!r}")
    if scheme not in NAMES:
        close = difflib.get_close_matches(scheme, NAMES, n=2)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"one of {', '.join(NAMES)}"
        raise ParameterValueError(f"scheme is unknown: {scheme!r}; {hint}")
    if mup_base is not None and not isinstance(mup_base, nn.Module):
        raise ParameterTypeError(f"mup_base must be a torch.nn.Module; got {type(mup_base).__name__}")
    kind = type(model).__name__
    parameters = dict(model.named_parameters())
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(f"{kind} is a TorchScript module, whose inside cannot be seen; pass the eager module")
    if not parameters:
        raise NoParametersError(f"{kind} has no parameters, so there is nothing to initialise; pass the network itself")
    lazy = next((name for name, parameter in parameters.items() if is_lazy(parameter)), None)
    if lazy is not None:
        raise ModelError(f"{kind} is lazy ({lazy} has no shape yet); run it once on one batch, then ask again")
    inference = next((name for name, parameter in parameters.items() if parameter.is_inference()), None)
    if inference is not None:
        raise ModelError(
            f"{kind} was built under torch.inference_mode, so {inference} can neither be written nor trained; build it "
            "outside"
        )
    if batch is None:
        return
    meta = next((name for name, p in parameters.items() if p.is_meta), None)
    if meta is not None:
        raise ModelError(
            f"{kind} lies on the meta device ({meta} has no values), so no batch can run through it; materialise it "
            "first: model.to_empty(device='cpu')"
        )
    sharded = next((name for name, p in parameters.items() if type(p.data).__name__ == "DTensor"), None)
    if sharded is not None:
        raise ModelError(
            f"{sharded} is sharded, and every rank would measure its own batch; make the plan before sharding, and "
            "apply it with plan.apply_(model=sharded), or plan without a batch"
        )


def _rows(
    network: Network, scheme: str, *, zero_gamma: bool, mup_base: nn.Module | None, only: list[str] | None
) -> dict[str, Row]:
    draft = Draft(network, zero_branches=zero_gamma and scheme == "auto")
    for index, layer in enumerate(list(network.layers)):
        _rule(scheme, layer)(draft, index, layer)
    loose_rows(draft, partial(_rule, scheme))
    if draft.zero_branches and not any(layer.sums for layer in network.layers):
        network.notes.append("zero_gamma: no residual branch was found, so none starts at zero")
    rows = draft.rows | {row.name: row for row in buffer_rows(network.model)}
    rows = _with_aliases(network.model, rows)
    if mup_base is not None:
        narrow = _rows(network_of_modules(unwrapped(mup_base)), scheme, zero_gamma=False, mup_base=None, only=None)
        rows = with_mup(rows, narrow, network.notes)
    return rows if only is None else only_these(rows, only, network.notes)


def _rule(scheme: str, layer: Layer) -> Callable[[Draft, int, Layer], Any]:
    rule = rule_for(layer)
    if scheme == "auto" or rule is unknown_rows:
        return rule
    if scheme == "torch":
        return lambda draft, _, known: torch_rows(draft, known)
    return lambda draft, _, known: scheme_rows(draft, scheme, known)


def _with_aliases(model: nn.Module, rows: dict[str, Row]) -> dict[str, Row]:
    """Name the other places of a shared tensor in its row."""
    first: dict[int, str] = {}
    aliases: dict[str, list[str]] = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        canonical = first.setdefault(id(tensor), name)
        if canonical != name:
            aliases.setdefault(canonical, []).append(name)
    return {name: replace(row, aliases=tuple(aliases[name])) if name in aliases else row for name, row in rows.items()}


def _corrected(network: Network, rows: dict[str, Row], batch: Batch, seed: int) -> dict[str, Row]:
    """The rows after one pass in which every weight was scaled to what its rule means. Overwrites the model."""
    model = network.model
    tensors = require_fit(tuple(rows.values()), model)
    for name, row in rows.items():
        write(row, tensors[name], seed, tensors)
    correction = Correction(model, {name: row for name, row in rows.items() if row.kind == PARAMETER}, seed)
    forward(model, batch, correction)
    for name, what in correction.silent.items():
        network.notes.append(f"{rows[name].layer or name}: it gives {what}, so its weight could not be measured")
    return rows | correction.rows
