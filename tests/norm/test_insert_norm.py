"""BatchNorm put behind layers of a model, and taken out again."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from evenflow.errors import ParameterTypeError, TreatmentError
from evenflow.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, insert_


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first

    def forward(self, x):
        return self.again(torch.tanh(self.first(x)))


def fingerprint(model: nn.Module) -> list[tuple[str, int]]:
    modules = [(name, id(module)) for name, module in model.named_modules(remove_duplicate=False)]
    parameters = [(name, id(p)) for name, p in model.named_parameters(remove_duplicate=False)]
    return modules + parameters


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Linear(4, 6), BatchNorm1d, (8, 4)),
        (nn.Conv1d(4, 6, 3), BatchNorm1d, (8, 4, 9)),
        (nn.Conv2d(4, 6, 3), BatchNorm2d, (8, 4, 9, 9)),
        (nn.Conv3d(4, 6, 2), BatchNorm3d, (4, 4, 5, 5, 5)),
        (nn.ConvTranspose1d(4, 6, 3), BatchNorm1d, (8, 4, 9)),
        (nn.ConvTranspose2d(4, 6, 3, bias=False), BatchNorm2d, (8, 4, 5, 5)),
        (nn.ConvTranspose3d(4, 6, 2), BatchNorm3d, (4, 4, 3, 3, 3)),
    ],
)
def test_the_matching_norm_follows_the_same_layer(layer, norm, shape):
    model = nn.Sequential(layer, nn.ReLU())
    assert insert_(model, ["0"]).names == ("0.norm",)
    assert model[0].layer is layer
    assert layer.bias is None
    assert type(model[0].norm) is norm
    normalised = model[0](torch.randn(shape))
    over = [0, *range(2, normalised.dim())]
    torch.testing.assert_close(normalised.mean(over), torch.zeros(6), rtol=0, atol=1e-5)


def test_names_lead_to_the_new_norms():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 2))
    insertion = insert_(model, ["1", "0.0"])
    assert insertion.names == ("1.norm", "0.0.norm")
    assert [model.get_submodule(name).num_features for name in insertion.names] == [2, 5]


def test_device_dtype_and_mode_are_inherited():
    model = nn.Sequential(nn.Linear(4, 6, device="meta", dtype=torch.float16)).eval()
    insert_(model, ["0"])
    norm = model[0].norm
    assert (norm.weight.device.type, norm.weight.dtype, norm.training) == ("meta", torch.float16, False)
    assert norm.running_mean.dtype == torch.float32


def test_every_use_of_a_shared_layer_gets_the_same_pair():
    model = Shared()
    insertion = insert_(model, ["first", "again", "first"])
    assert insertion.names == ("first.norm",)
    assert model.first is model.again
    model(torch.randn(8, 4))
    assert int(model.first.norm.num_batches_tracked) == 2


def test_undo_restores_the_same_objects():
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Conv2d(1, 2, 1, bias=False)), Shared())
    before = fingerprint(model)
    insertion = insert_(model, ["0", "1.0", "2.first"])
    assert fingerprint(model) != before
    insertion.undo()
    assert fingerprint(model) == before


def test_undo_twice_is_an_error_and_changes_nothing():
    model = nn.Sequential(nn.Linear(4, 6))
    insertion = insert_(model, ["0"])
    insertion.undo()
    before = fingerprint(model)
    with pytest.raises(TreatmentError, match="undone already"):
        insertion.undo()
    assert fingerprint(model) == before


def test_undo_refuses_when_the_pair_was_replaced_since():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    insertion = insert_(model, ["0", "1"])
    model[1] = nn.Identity()
    before = fingerprint(model)
    with pytest.raises(TreatmentError, match="'1' of Sequential"):
        insertion.undo()
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("9", "no module '9'"),
        ("", "no BatchNorm fits"),
        ("1", "a Tanh"),
        ("2", "has a BatchNorm1d behind it already"),
        ("4.out_proj", "part of a MultiheadAttention"),
        ("5", "parametrized"),
        ("6", "not real"),
    ],
)
def test_nothing_changes_when_one_name_is_wrong(name, message):
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Tanh(),
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.MultiheadAttention(4, 2),
        parametrizations.weight_norm(nn.Linear(4, 4), name="bias", dim=None),
        nn.Linear(4, 4, dtype=torch.complex64),
    )
    before = fingerprint(model)
    with pytest.raises(TreatmentError, match=message):
        insert_(model, ["0", name])
    assert fingerprint(model) == before


def test_inserting_twice_is_refused():
    model = nn.Sequential(nn.Linear(4, 6))
    insert_(model, ["0"])
    with pytest.raises(TreatmentError, match="behind it already"):
        insert_(model, ["0.layer"])


def test_the_model_itself_has_no_place():
    with pytest.raises(TreatmentError, match="is the model itself"):
        insert_(nn.Linear(2, 2), [""])


def test_a_single_string_is_refused():
    with pytest.raises(ParameterTypeError, match="sequence of names"):
        insert_(nn.Sequential(nn.Linear(2, 2)), "0")


def test_undo_after_a_cast_gives_a_layer_that_runs():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    insertion = insert_(model, ["0"])
    model.double()
    insertion.undo()
    assert model(torch.zeros(3, 4, dtype=torch.float64)).dtype == torch.float64
