"""The code of a prescription, pasted beside a copy of the model, does exactly what the treatment does."""

import copy
import math

import pytest
import torch
from torch import nn

from evenflow.diagnose import Prescription, check, treat_
from evenflow.diagnose.treat import ClipGradNorm, InsertBatchNorm, Redraw, Reinitialize, StandardizeInput


def bits(model):
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model.state_dict().items()}


def pasted(code, model):
    exec(compile(code, "pasted", "exec"), {"model": model})
    return model


def wide(zoo, activation, weight_=lambda weight: nn.init.normal_(weight, std=3 / math.sqrt(64))):
    torch.manual_seed(0)
    return zoo.mlp(10, activation, weight_=weight_)


class RawWeights(nn.Module):
    def __init__(self, depth=10):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(64, 64)) for _ in range(depth))
        self.head = nn.Parameter(torch.randn(64, 10) / 8)

    def forward(self, x):
        for weight in self.weights:
            x = torch.tanh(x @ weight)
        return x @ self.head


class Strided(nn.Module):
    """Convolutions whose fans are no integers."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3 if i else 1, 3, 3, stride=2 if i == 0 else 1, padding=1) for i in range(9)
        )
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU, nn.Tanh, nn.GELU, nn.ELU, nn.SELU, nn.SiLU, lambda: nn.LeakyReLU(0.3), lambda: nn.ELU(0.7), nn.PReLU],
)
def test_redrawn_weights_agree_bit_for_bit(zoo, activation):
    model = wide(zoo, activation)
    twin = copy.deepcopy(model)
    treatment = treat_(model, check(model, zoo.digit_vectors()))
    assert treatment.kept
    assert bits(pasted(treatment.to_code(), twin)) == bits(model)


@pytest.mark.parametrize("build", [RawWeights, Strided])
def test_raw_parameters_and_fractional_fans(zoo, build):
    torch.manual_seed(0)
    model = build()
    twin = copy.deepcopy(model)
    diagnosis = check(model, zoo.digit_images() if build is Strided else zoo.digit_vectors())
    treatment = treat_(model, diagnosis)
    assert treatment.kept
    assert bits(pasted(diagnosis.prescription.to_code(), twin)) == bits(model)


def test_fans_of_any_size_are_printed_exactly():
    fans = [(1234567.0, 2.0), (128 / 3, 0.1), (1e20, 2.25)]
    remedy = Reinitialize(tuple(Redraw("w", "he_normal_", *pair) for pair in fans))
    lines = [line for line in remedy.code().splitlines() if line.startswith("    ('w'")]
    assert [eval(line.strip().rstrip(","))[1:] for line in lines] == fans


def test_inserted_batch_norms_agree(zoo):
    torch.manual_seed(0)
    model = zoo.SICK["sigmoid-10-glorot"].build()
    twin = copy.deepcopy(model)
    treatment = treat_(model, check(model, zoo.digit_vectors()))
    pasted(treatment.to_code(), twin)
    assert str(twin) == str(model)
    assert bits(twin) == bits(model)


def test_both_remedies_in_one_script(zoo):
    torch.manual_seed(0)
    model = zoo.mlp(8, nn.Sigmoid, weight_=nn.init.zeros_)
    twin = copy.deepcopy(model)
    treatment = treat_(model, check(model, zoo.digit_vectors()))
    assert [remedy.kind for remedy in treatment.applied] == ["reinitialize", "insert-batch-norm"]
    code = treatment.to_code()
    assert code.count("import evenflow as ef") == 1
    assert bits(pasted(code, twin)) == bits(model)


def test_every_prescription_of_the_zoo_is_python(sick):
    compile(check(sick.build(), sick.batch()).prescription.to_code(), "prescription", "exec")


def test_advice_comes_as_code_too():
    prescription = Prescription((StandardizeInput(78.9, 96.3), ClipGradNorm(1.0)))
    code = prescription.to_code()
    assert "inputs = (inputs - 78.9) / 96.3" in code
    assert "ef.clip.clip_grad_norm_(model.parameters(), max_norm=1)" in code
    names = {"inputs": torch.full((2, 2), 78.9), "model": nn.Linear(1, 1)}
    exec(code.replace("ef.clip.clip_grad_norm_(", "(lambda *a, **k: None)("), names)
    assert names["inputs"].abs().max() < 1e-4


def test_clipping_as_advised_bounds_the_gradient():
    model = nn.Linear(4, 4)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    pasted(Prescription((ClipGradNorm(1.0),)).to_code(), model)
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-4)


def test_nothing_to_do_is_no_code():
    assert Prescription().to_code() == ""
    assert Prescription().describe() == []
    assert not Prescription()


def test_descriptions_name_a_few_and_count_the_rest():
    draws = tuple(Redraw(f"{i}.weight", "he_normal_", 4, 4, bias=f"{i}.bias") for i in range(5))
    assert Reinitialize(draws).describe() == (
        "re-initialise 0.weight, 1.weight, 2.weight and 2 more by he_normal_, biases to zero"
    )
    assert Reinitialize(draws[:1]).describe() == "re-initialise 0.weight by he_normal_, biases to zero"
    assert Reinitialize((Redraw("w", "he_normal_", 4, 4),)).describe() == "re-initialise w by he_normal_"
    assert InsertBatchNorm(("0",)).describe() == "insert BatchNorm after layer '0', before the activation"
    assert InsertBatchNorm(("a", "b")).describe() == "insert BatchNorm after layers 'a' and 'b', before the activation"
    assert StandardizeInput(78.93, 96.33).describe() == "standardise the inputs: subtract 78.93, divide by 96.33"
    assert ClipGradNorm(1.0).describe() == "clip the gradient norm at 1 before every optimizer step"
