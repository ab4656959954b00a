"""Each fan rule against the variance that a real layer shows, forwards and backwards.

A layer is drawn several times with weights N(0, 1 / fan_in), then N(0, 1 / fan_out); inputs and output
gradients are N(0, 1). The mean over draws must be 1 within five of its own standard errors, which must be
small enough to tell conventions apart. Borders are cropped: a rule holds where every tap of the kernel is
used.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn.init import _calculate_fan_in_and_fan_out as torch_fans

from evenflow.theory import fans

DRAWS = 24


def moment(tensor):
    return float(tensor.square().mean())


def assert_is_one(moments):
    samples = torch.tensor(moments, dtype=torch.float64)
    error = float(samples.std()) / math.sqrt(len(samples))
    assert error < 0.04
    assert abs(float(samples.mean()) - 1) < 5 * error


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(shape, random):
    return torch.randn(shape, generator=random, dtype=torch.float64)


def fill_(parameter, fan, random):
    with torch.no_grad():
        parameter.copy_(draw(parameter.shape, random) / math.sqrt(fan))


def forward_and_backward(layer, inputs, random):
    """Return the output for these inputs, and the gradient of the first input for random output gradients."""
    inputs = [tensor.requires_grad_() for tensor in inputs]
    output = layer(*inputs)
    (gradient,) = torch.autograd.grad(output, inputs[:1], draw(output.shape, random))
    return output.detach(), gradient


def whole(tensor):
    return tensor


def assert_fans_are_measured(layer, shapes, crop_output=whole, crop_gradient=whole):
    random, pair = generator(), fans(layer)
    forward, backward = [], []
    for _ in range(DRAWS):
        inputs = [draw(shape, random) for shape in shapes]
        fill_(layer.weight, pair.fan_in, random)
        forward.append(moment(crop_output(forward_and_backward(layer, inputs, random)[0])))
        fill_(layer.weight, pair.fan_out, random)
        backward.append(moment(crop_gradient(forward_and_backward(layer, inputs, random)[1])))
    assert_is_one(forward)
    assert_is_one(backward)


@pytest.mark.parametrize("sizes", [(40, 60), (60, 40)])
def test_linear(sizes):
    assert_fans_are_measured(nn.Linear(*sizes, bias=False, dtype=torch.float64), [(32, sizes[0])])


def test_bilinear():
    layer = nn.Bilinear(12, 8, 10, bias=False, dtype=torch.float64)
    assert_fans_are_measured(layer, [(200, 12), (200, 8)])


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(400).eval(), nn.LayerNorm(400), nn.RMSNorm(400), nn.GroupNorm(1, 400)],
    ids=lambda layer: type(layer).__name__,
)
def test_the_scale_of_normalization(layer):
    # Normalising over 400 elements takes 1 in 200 of the gradient's variance: well within the tolerance.
    assert_fans_are_measured(layer.double(), [(50, 400)])


class Conv1D(nn.Module):
    """The dense layer of GPT-2, as transformers defines it."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.empty(nx, nf, dtype=torch.float64))

    def forward(self, x):
        return x @ self.weight


def test_conv1d_of_transformers():
    assert_fans_are_measured(Conv1D(nf=60, nx=40), [(32, 40)])


CONVOLUTIONS = [
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 5}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 4, "stride": 2}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 5, "stride": 3}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "stride": 5}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "dilation": 3}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 4, "stride": 2, "dilation": 2}),
    (1, {"in_channels": 8, "out_channels": 12, "kernel_size": 4, "groups": 4}),
    (1, {"in_channels": 8, "out_channels": 24, "kernel_size": 4, "groups": 8, "stride": 2}),
    (2, {"in_channels": 8, "out_channels": 6, "kernel_size": (3, 5)}),
    (2, {"in_channels": 8, "out_channels": 6, "kernel_size": (3, 4), "stride": (1, 2)}),
    (2, {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "groups": 16}),
    (
        2,
        {
            "in_channels": 8,
            "out_channels": 12,
            "kernel_size": 3,
            "groups": 2,
            "stride": 2,
            "dilation": (2, 1),
        },
    ),
    (3, {"in_channels": 4, "out_channels": 6, "kernel_size": 3}),
    (3, {"in_channels": 4, "out_channels": 6, "kernel_size": 2, "stride": 2, "groups": 2}),
]


def interior(layer, dense):
    """Return a crop of the side with more positions: full kernels, and whole periods of the stride."""

    def crop(tensor):
        for axis, (kernel, stride, dilation) in enumerate(
            zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
        ):
            margin = dilation * (kernel - 1)
            periods = (dense[axis - 2] * stride - margin) // stride
            assert periods > 0
            tensor = tensor.narrow(axis, margin, periods * stride)
        return tensor

    return crop


@pytest.mark.parametrize(("dimensions", "options"), CONVOLUTIONS, ids=str)
def test_convolutions(dimensions, options):
    layer = getattr(nn, f"Conv{dimensions}d")(**options, bias=False, dtype=torch.float64)
    size = (120, 24, 11)[dimensions - 1]
    shape = (6, layer.in_channels, *[size] * dimensions)
    outputs = layer(torch.zeros(shape, dtype=torch.float64)).shape[2:]
    assert_fans_are_measured(layer, [shape], crop_gradient=interior(layer, outputs))


@pytest.mark.parametrize(("dimensions", "options"), CONVOLUTIONS, ids=str)
def test_transposed_convolutions(dimensions, options):
    layer = getattr(nn, f"ConvTranspose{dimensions}d")(**options, bias=False, dtype=torch.float64)
    size = (60, 14, 6)[dimensions - 1]
    shape = (6, layer.in_channels, *[size] * dimensions)
    assert_fans_are_measured(layer, [shape], crop_output=interior(layer, [size] * dimensions))


def test_embedding():
    layer, random = nn.Embedding(50, 20, dtype=torch.float64), generator()
    forward = []
    for _ in range(DRAWS):
        fill_(layer.weight, fans(layer).fan_in, random)
        forward.append(moment(layer(torch.randint(50, (100,), generator=random)).detach()))
    assert_is_one(forward)


@pytest.mark.parametrize(("mode", "factor"), [("sum", 7), ("mean", 1 / 7)])
def test_a_bag_of_rows_has_the_variance_that_the_rule_says(mode, factor):
    layer, random = nn.EmbeddingBag(50, 20, mode=mode, dtype=torch.float64), generator()
    forward = []
    for _ in range(DRAWS):
        fill_(layer.weight, fans(layer).fan_in, random)
        bags = torch.stack([torch.randperm(50, generator=random)[:7] for _ in range(30)])
        forward.append(moment(layer(bags).detach()) / factor)
    assert_is_one(forward)


def test_embedding_bag_backwards_towards_the_weights_of_its_rows():
    layer, random = nn.EmbeddingBag(50, 20, mode="sum", dtype=torch.float64), generator()
    backward = []
    for _ in range(DRAWS):
        fill_(layer.weight, fans(layer).fan_out, random)
        shares = torch.ones(30, 7, dtype=torch.float64, requires_grad=True)
        output = layer(torch.randint(50, (30, 7), generator=random), per_sample_weights=shares)
        (gradient,) = torch.autograd.grad(output, shares, draw(output.shape, random))
        backward.append(moment(gradient))
    assert_is_one(backward)


# A recurrent layer is linear in small signals, and its open gates pass a known share of the candidate.
SMALL = 1e-4
SHARE_OF_INPUT = {"RNN": 1.0, "LSTM": 0.25, "GRU": 0.5}
RECURRENT = [
    (nn.RNN, {}),
    (nn.LSTM, {}),
    (nn.GRU, {}),
    (nn.RNN, {"num_layers": 3}),
    (nn.LSTM, {"num_layers": 2}),
    (nn.LSTM, {"num_layers": 2, "proj_size": 35}),
]


def recurrent(kind, **options):
    return kind(30, 40, bias=False, dtype=torch.float64, **options)


def fill_all_(layer, side, random):
    for name, parameter in layer.named_parameters():
        fill_(parameter, getattr(fans(layer, name), side), random)


@pytest.mark.parametrize(("kind", "options"), [*RECURRENT, (nn.GRU, {"num_layers": 2, "bidirectional": True})], ids=str)
def test_recurrent_input_weights_forwards(kind, options):
    layer, random = recurrent(kind, **options), generator()
    share = SHARE_OF_INPUT[kind.__name__] ** layer.num_layers
    forward = []
    for _ in range(DRAWS):
        fill_all_(layer, "fan_in", random)
        output, _ = layer(SMALL * draw((1, 60, 30), random))
        forward.append(moment(output.detach() / SMALL / share))
    assert_is_one(forward)


@pytest.mark.parametrize(("kind", "options"), [*RECURRENT, (nn.GRU, {"bidirectional": True})], ids=str)
def test_recurrent_input_weights_backwards(kind, options):
    layer, random = recurrent(kind, **options), generator()
    share = SHARE_OF_INPUT[kind.__name__] ** layer.num_layers
    directions = 1 + layer.bidirectional
    backward = []
    for _ in range(DRAWS):
        fill_all_(layer, "fan_out", random)
        inputs = SMALL * draw((1, 60, 30), random)
        _, gradient = forward_and_backward(lambda x: layer(x)[0], [inputs], random)
        backward.append(moment(gradient / share) / directions)
    assert_is_one(backward)


def rnn_step(cell, state):
    return cell(torch.zeros(20, 30, dtype=torch.float64), state)


def lstm_step(cell, state):
    return 4 * cell(torch.zeros(20, 30, dtype=torch.float64), (state, torch.zeros_like(state)))[0]


def gru_step(cell, state):
    return 4 * (cell(torch.zeros(20, 30, dtype=torch.float64), state) - state / 2)


@pytest.mark.parametrize(("kind", "step"), [(nn.RNNCell, rnn_step), (nn.LSTMCell, lstm_step), (nn.GRUCell, gru_step)])
def test_recurrent_state_weights(kind, step):
    cell, random = recurrent(kind), generator()
    pair = fans(cell, "weight_hh")
    forward, backward = [], []
    for _ in range(DRAWS):
        state = SMALL * draw((20, 40), random)
        fill_(cell.weight_hh, pair.fan_in, random)
        forward.append(moment(forward_and_backward(lambda h: step(cell, h), [state], random)[0] / SMALL))
        fill_(cell.weight_hh, pair.fan_out, random)
        backward.append(moment(forward_and_backward(lambda h: step(cell, h), [state], random)[1]))
    assert_is_one(forward)
    assert_is_one(backward)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 20, "vdim": 30}], ids=["packed", "apart"])
def test_attention_values(sizes):
    """One key leaves the attention nothing to choose, so the layer is its value projection."""
    layer = nn.MultiheadAttention(48, 4, bias=False, batch_first=True, dtype=torch.float64, **sizes)
    name = "v_proj_weight" if sizes else "in_proj_weight"
    with torch.no_grad():
        layer.out_proj.weight.copy_(torch.eye(48))
    query = torch.zeros(32, 1, 48, dtype=torch.float64)
    key = torch.zeros(32, 1, sizes.get("kdim", 48), dtype=torch.float64)
    random, pair = generator(), fans(layer, name)
    forward, backward = [], []
    for _ in range(DRAWS):
        value = draw((32, 1, sizes.get("vdim", 48)), random)
        fill_(getattr(layer, name), pair.fan_in, random)
        forward.append(moment(forward_and_backward(lambda v: layer(query, key, v)[0], [value], random)[0]))
        fill_(getattr(layer, name), pair.fan_out, random)
        backward.append(moment(forward_and_backward(lambda v: layer(query, key, v)[0], [value], random)[1]))
    assert_is_one(forward)
    assert_is_one(backward)


def test_peer_torch_fan_out_of_grouped_convolutions_ignores_groups():
    layer = nn.Conv2d(64, 64, 3, groups=64, bias=False, dtype=torch.float64)
    crop = interior(layer, (14, 14))
    assert_fans_are_measured(layer, [(4, 64, 16, 16)], crop_gradient=crop)
    fill_(layer.weight, torch_fans(layer.weight)[1], generator())
    _, gradient = forward_and_backward(layer, [draw((4, 64, 16, 16), generator(1))], generator(2))
    assert moment(crop(gradient)) < 0.02


def test_peer_torch_and_keras_fans_of_transposed_convolutions_ignore_the_stride_and_swap():
    layer = nn.ConvTranspose2d(64, 256, 4, stride=2, bias=False, dtype=torch.float64)
    assert fans(layer) == (256, 4096)
    crop = interior(layer, (6, 6))
    inputs = draw((4, 64, 6, 6), generator(1))
    fill_(layer.weight, torch_fans(layer.weight)[0], generator())
    assert moment(crop(layer(inputs)).detach()) < 0.07
    fill_(layer.weight, fans(layer).fan_in, generator())
    assert moment(crop(layer(inputs)).detach()) == pytest.approx(1, abs=0.05)


def test_peer_torch_multihead_attention_treats_packed_projections_as_one_matrix():
    packed = nn.MultiheadAttention(48, 4).in_proj_weight
    right, wrong = fans(nn.MultiheadAttention(48, 4)).average, sum(torch_fans(packed)) / 2
    assert wrong / right == 2


def test_peer_torch_treats_packed_gates_as_one_matrix():
    layer = nn.LSTM(30, 40)
    assert torch_fans(layer.weight_ih_l0) == (30, 160)
    assert fans(layer) == (30, 40)


@pytest.mark.parametrize("layer", [nn.Linear(300, 20), nn.Conv2d(30, 5, 3)])
def test_peer_dks_assumes_in_out_weights(layer):
    reads = layer.weight[0].numel()
    assert fans(layer).fan_in == reads
    assert fans(layer.weight).fan_in == reads
