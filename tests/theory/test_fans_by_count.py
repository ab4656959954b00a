import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError, UnknownLayerError
from evenflow.theory import Fans, fans
from evenflow.theory.fan_rules import find_rule


class Conv1D(nn.Module):
    """The dense layer of GPT-2, as transformers defines it: the weight is (inputs, outputs)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.empty(nx, nf))


def attention(**options):
    return nn.MultiheadAttention(12, 3, **options)


@pytest.mark.parametrize(
    ("layer", "name", "expected"),
    [
        (nn.Linear(3, 2), "weight", (3, 2)),
        (nn.Bilinear(3, 5, 7), "weight", (15, 35)),
        (nn.Conv2d(8, 16, (3, 5), stride=(1, 2), groups=4), "weight", (30, 30)),
        (nn.ConvTranspose2d(64, 256, 4, stride=2), "weight", (256, 4096)),
        (nn.Embedding(100, 16), "weight", (1, 16)),
        (nn.EmbeddingBag(100, 16), "weight", (1, 16)),
        (nn.RNN(5, 7), "weight", (5, 7)),
        (nn.LSTM(5, 7), "weight_hh_l0", (7, 7)),
        (nn.LSTM(5, 7, num_layers=2), "weight_ih_l1", (7, 7)),
        (nn.GRU(5, 7, num_layers=2, bidirectional=True), "weight_ih_l1", (14, 7)),
        (nn.GRU(5, 7, num_layers=2, bidirectional=True), "weight_ih_l0_reverse", (5, 7)),
        (nn.LSTM(5, 7, num_layers=2, bidirectional=True, proj_size=3), "weight_ih_l1_reverse", (6, 7)),
        (nn.LSTM(5, 7, proj_size=3), "weight_hh_l0", (3, 7)),
        (nn.LSTM(5, 7, proj_size=3), "weight_hr_l0", (7, 3)),
        (nn.LSTMCell(5, 7), "weight", (5, 7)),
        (nn.GRUCell(5, 7), "weight_hh", (7, 7)),
        (attention(), "weight", (12, 12)),
        (attention(), "in_proj_weight", (12, 12)),
        (attention().out_proj, "weight", (12, 12)),
        (attention(kdim=5, vdim=6), "weight", (12, 12)),
        (attention(kdim=5, vdim=6), "k_proj_weight", (5, 12)),
        (attention(kdim=5, vdim=6), "v_proj_weight", (6, 12)),
        (Conv1D(nf=30, nx=10), "weight", (10, 30)),
        (nn.BatchNorm2d(4), "weight", (1, 1)),
        (nn.LayerNorm((4, 5)), "weight", (1, 1)),
        (nn.PReLU(3), "weight", (1, 1)),
        (nn.Linear(3, 2, device="meta"), "weight", (3, 2)),
        (nn.Linear(3, 2, dtype=torch.complex64), "weight", (3, 2)),
    ],
    ids=str,
)
def test_the_fans_of_a_layer_are_its_counts(layer, name, expected):
    assert fans(layer, name) == expected


def test_every_weight_of_every_torch_layer_has_a_rule():
    containers = {"ParameterList", "ParameterDict"}
    layers = {
        name: cls
        for name, cls in vars(nn).items()
        if inspect.isclass(cls) and issubclass(cls, nn.Module) and cls is not nn.Module
    }
    with_weights = {
        name
        for name, cls in layers.items()
        if any("Parameter(" in inspect.getsource(c) for c in cls.__mro__[:-1] if c is not nn.Module)
    }
    assert {"Linear", "LSTM", "GroupNorm", "PReLU"} <= with_weights
    without_rule = {name for name in with_weights if find_rule(layers[name].__new__(layers[name])) is None}
    assert without_rule == containers


@pytest.mark.parametrize(
    "layer",
    [
        nn.RNN(3, 4, num_layers=3, bidirectional=True),
        nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2),
        nn.GRUCell(3, 4),
        attention(),
        attention(kdim=5),
    ],
    ids=str,
)
def test_all_weights_of_a_layer_with_several_can_be_selected(layer):
    named = [name for name, parameter in layer.named_parameters(recurse=False) if parameter.dim() == 2]
    assert named
    assert all(fans(layer, name).fan_in > 0 for name in named)
    assert fans(layer) == fans(layer, named[0])


def test_a_subclass_keeps_the_rule_of_its_parent():
    class Mine(nn.Conv2d):
        pass

    assert fans(Mine(4, 4, 3, groups=4)) == (9, 9)


def test_a_parametrized_layer_keeps_its_rule():
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, groups=4))
    assert fans(layer) == (9, 9)


def test_a_class_of_the_same_name_from_elsewhere_is_not_trusted():
    class Linear(nn.Module):
        in_features, out_features, weight = 3, 2, torch.zeros(3, 2)

    with pytest.raises(UnknownLayerError, match=r"no fan rule is known for Linear; .* fans\(layer.weight\)"):
        fans(Linear())


def test_an_unknown_layer_is_named_with_the_way_out():
    with pytest.raises(UnknownLayerError, match="no fan rule is known for Sequential; pass one of its layers"):
        fans(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize("lazy", [nn.LazyLinear(4), nn.LazyConv2d(4, 3), nn.LazyLinear(4).weight])
def test_a_lazy_layer_asks_for_a_batch_first(lazy):
    with pytest.raises(TensorShapeError, match="run one batch through the model"):
        fans(lazy)


def test_a_lazy_layer_that_has_seen_a_batch_is_an_ordinary_one():
    layer = nn.LazyLinear(4)
    layer(torch.zeros(2, 3))
    assert fans(layer) == (3, 4)


@pytest.mark.parametrize(
    ("layer", "name", "allowed"),
    [
        (nn.Linear(2, 3), "bias", "weight"),
        (nn.LSTM(2, 3), "weight_ih_l1", "weight_ih_l0, weight_hh_l0"),
        (nn.LayerNorm(3, elementwise_affine=False), "weight", "it has none"),
        (attention(), "q_proj_weight", "in_proj_weight"),
    ],
    ids=str,
)
def test_a_name_that_the_layer_lacks_is_refused_with_those_it_has(layer, name, allowed):
    with pytest.raises(ParameterValueError, match=f"{allowed}; got '{name}'"):
        fans(layer, name)


@pytest.mark.parametrize("thing", [None, "relu", 3, nn.Linear])
def test_neither_layer_nor_weight_is_a_type_error(thing):
    with pytest.raises(ParameterTypeError, match="must be a layer or have a shape"):
        fans(thing)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=5))
def test_a_bare_weight_follows_torchs_convention_for_shapes(shape):
    field = int(np.prod(shape[2:]))
    assert fans(np.empty(shape)) == fans(torch.empty(shape)) == (shape[1] * field, shape[0] * field)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_transposing_a_dense_weight_swaps_its_fans(outputs, inputs):
    assert fans(np.empty((outputs, inputs))) == fans(np.empty((inputs, outputs)))[::-1]


@pytest.mark.parametrize("shape", [(), (4,)])
def test_a_weight_with_fewer_than_two_dimensions_has_no_fans(shape):
    with pytest.raises(TensorShapeError, match="at least 2 dimensions"):
        fans(torch.empty(shape))


def test_a_name_beside_a_bare_weight_is_refused():
    with pytest.raises(ParameterValueError, match="'weight_hh' with a Tensor: leave it out"):
        fans(torch.empty(2, 3), "weight_hh")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
def test_a_dimension_of_size_zero_counts_as_zero():
    assert fans(nn.Linear(0, 5)) == (0, 5)
    assert fans(torch.empty(0, 5, 3)) == (15, 0)


def test_the_average_is_that_of_glorot():
    assert Fans(3.0, 2.0).average == 2.5
