"""A plan writes every tensor once, the same bits wherever it is applied, and nothing at all when it does not fit."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import evenflow as ef
from evenflow.errors import ModelError, NoParametersError, ParameterTypeError, ParameterValueError, PlanError
from evenflow.planning import initialize_, plan
from evenflow.planning.init_plan import InitPlan
from evenflow.planning.writing import write
from evenflow.random import Stream


class Net(nn.Module):
    def __init__(self, *, extra=False, bias=True):
        super().__init__()
        self.first = nn.Linear(6, 8, bias=bias)
        if extra:
            self.between = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_values_do_not_depend_on_the_other_modules():
    plain, longer, biasless = Net(), Net(extra=True), Net(bias=False)
    for model in (plain, longer, biasless):
        initialize_(model, seed=3)
    for name in ("first.weight", "last.weight"):
        assert torch.equal(weights(plain)[name], weights(longer)[name])
        assert torch.equal(weights(plain)[name], weights(biasless)[name])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_the_float32_draw_rounded(dtype):
    single, other = Net(), Net().to(dtype)
    for model in (single, other):
        initialize_(model, seed=1)
    for name, value in weights(other).items():
        assert torch.equal(value, weights(single)[name].to(dtype))


def test_strides_and_threads_do_not_change_a_bit():
    model, strided = nn.Linear(40, 30), nn.Linear(40, 30)
    strided.weight = nn.Parameter(torch.empty(40, 30).t())
    initialize_(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        initialize_(strided)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(model.weight, strided.weight)


def test_the_value_is_the_addressed_draw():
    model = nn.Linear(64, 3)
    made = initialize_(model, seed=11)
    row = made.row("weight")
    drawn = Stream(11, "weight").normal((3, 64), row.options["mean"], row.options["std"])
    assert torch.equal(model.weight, torch.from_numpy(drawn))


def test_nothing_of_what_was_there_remains():
    """A number that no rule writes, in every element before, is in none after."""
    model = Net()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(77)
    audit = plan(model, torch.randn(8, 6)).apply_()
    assert set(audit.written) == {*dict(model.named_parameters()), *dict(model.named_buffers())}
    assert not any((tensor == 77).any() for tensor in (*model.parameters(), *model.buffers()))
    assert audit.parameters == sum(p.numel() for p in model.parameters())


def test_another_seed_gives_other_values():
    model = Net()
    made = plan(model)
    made.apply_(1)
    first = weights(model)
    made.apply_(2)
    assert not torch.equal(first["first.weight"], model.first.weight)
    made.apply_(1)
    assert torch.equal(first["first.weight"], model.first.weight)


def test_an_interrupted_plan_can_be_applied_again(monkeypatch):
    model, whole = Net(), Net()
    made, before = plan(model), weights(model)
    written = []

    def interrupted(row, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(row.name)
        write(row, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("evenflow.planning.init_plan.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.apply_()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name not in written)
    for each in (model, whole):
        made.apply_(model=each)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


def test_frozen_parameters_are_initialised_and_stay_frozen():
    model = Net()
    model.first.weight.requires_grad_(False).fill_(5)
    initialize_(model)
    assert not (model.first.weight == 5).any()
    assert not model.first.weight.requires_grad


def test_a_tied_weight_has_one_row_with_its_other_names():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    model["b"].weight = model["a"].weight
    made = initialize_(model)
    assert made.row("b.weight") is made.row("a.weight")
    assert made.row("a.weight").aliases == ("b.weight",)
    assert len(made.audit.written) == 3


def before_and_after(model, act, error, match):
    values = weights(model)
    with pytest.raises(error, match=match):
        act()
    assert all(torch.equal(value, values[name]) for name, value in model.named_parameters())


def test_a_plan_for_another_model_writes_nothing():
    made = plan(Net())
    before_and_after(
        small := nn.Linear(6, 8), lambda: made.apply_(model=small), PlanError, "Linear has no tensor first"
    )
    before_and_after(big := Net(extra=True), lambda: made.apply_(model=big), PlanError, "no row for between.weight")
    wide = Net()
    wide.last = nn.Linear(8, 4)
    before_and_after(
        wide, lambda: made.apply_(model=wide), PlanError, r"last.weight has shape \(4, 8\) in Net, and \(3, 8\)"
    )


def test_a_row_that_makes_no_sense_stops_everything_before_the_first_write():
    model = Net()
    made = plan(model)
    rows = list(made.rows)
    rows[-4] = type(rows[0])("last.weight", "parameter", (3, 8), "normal", {"mean": 0.0, "std": math.nan})
    broken = InitPlan(made.model, made.scheme, 0, tuple(rows), target=model)
    before_and_after(model, broken.apply_, PlanError, "std must be finite")


def test_two_rows_for_a_tensor_are_refused():
    made = plan(nn.Linear(2, 2))
    twice = InitPlan("Linear", "auto", 0, (*made.rows, made.rows[0]), target=made.target)
    with pytest.raises(PlanError, match="two rows for weight"):
        twice.apply_()


def test_on_the_meta_device_there_is_a_plan_but_nothing_to_write_to():
    with torch.device("meta"):
        model = Net()
    made = plan(model)
    with pytest.raises(PlanError, match=r"first.weight lies on the meta device.*to_empty"):
        made.apply_()
    with pytest.raises(ModelError, match=r"meta device .*so no batch can run through it.*to_empty"):
        plan(model, torch.randn(3, 6))
    built = Net()
    made.apply_(model=built)
    made.apply_(model=model.to_empty(device="cpu"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), built.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), built.buffers(), strict=True))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (3, ParameterTypeError, "model must be a torch.nn.Module; got int"),
        (nn.ReLU(), NoParametersError, "ReLU has no parameters"),
        (nn.LazyLinear(3), ModelError, "LazyLinear is lazy"),
    ],
    ids=["number", "no parameters", "lazy"],
)
def test_what_cannot_be_planned_is_refused(model, error, message):
    with pytest.raises(error, match=message):
        plan(model)


def test_a_scripted_model_is_refused():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="TorchScript"):
        plan(scripted)


def test_the_seed_is_checked():
    made = plan(nn.Linear(2, 2))
    with pytest.raises(ParameterTypeError, match="seed"):
        made.apply_("x")
    with pytest.raises(ParameterValueError, match="seed"):
        made.apply_(2**63)
    with pytest.raises(ParameterTypeError, match="seed must be an integer"):
        plan(nn.Linear(2, 2), seed="x")
    assert type(plan(nn.Linear(2, 2), seed=np.int64(3)).seed) is int


def test_a_scheme_that_does_not_exist_is_refused_with_its_neighbour():
    with pytest.raises(ParameterValueError, match="scheme is unknown: 'he_norml'; did you mean 'he_normal'"):
        plan(Net(), scheme="he_norml")
    with pytest.raises(ParameterTypeError, match="scheme must be a string"):
        plan(Net(), scheme=3)


def test_a_model_that_raises_is_left_as_it_was():
    model = Net().eval()
    values = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match="the model raised RuntimeError"):
        initialize_(model, torch.randn(3, 7))
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_compiled_and_data_parallel_wrappers_are_looked_through():
    model = Net()
    wrapped = nn.DataParallel(model)
    assert plan(wrapped).model == "Net"
    assert [row.name for row in plan(wrapped).rows] == [row.name for row in plan(model).rows]


def test_the_public_names():
    assert ef.initialize_ is initialize_
    assert ef.plan is plan
    assert ef.InitPlan is InitPlan
