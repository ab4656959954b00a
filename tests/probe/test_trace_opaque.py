"""Recurrent and attention layers, which are seen from outside."""

import pytest
import torch
from torch import nn

from evenflow.probe import measure
from evenflow.theory import fans

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Take(nn.Module):
    """Keep one part of a tuple."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, parts):
        return parts[self.part]


@pytest.mark.parametrize("layer", [nn.LSTM(6, 4, batch_first=True), nn.GRU(6, 4, num_layers=2, batch_first=True),
                                   nn.RNN(6, 4, batch_first=True), nn.LSTM(6, 4, bidirectional=True)])  # fmt: skip
def test_recurrent_layers_are_opaque(layer, layers_of):
    x = torch.randn(3, 5, 6)
    width = layer(x)[0].shape[-1]
    found = layers_of(nn.Sequential(nn.Linear(6, 6), layer, Take(0), nn.Linear(width, 2)), x)
    assert list(reversed(found)) == ["0", "1", "3"]
    assert (found["1"].role, found["1"].kind, found["1"].sources) == ("opaque", type(layer).__name__, (0,))
    assert found["1"].fans == fans(layer)
    assert {p.name for p in found["1"].parameters} == {f"1.{name}" for name, _ in layer.named_parameters()}
    assert found["3"].sources == (1,)


def test_the_output_of_an_opaque_layer_is_no_pre_activation(layers_of):
    found = layers_of(nn.Sequential(nn.GRU(6, 4), Take(0), nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 5, 6))
    assert found["0"].activation is None


class Steps(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(4, 2)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.LSTMCell(6, 4), nn.GRUCell(6, 4), nn.RNNCell(6, 4)])
def test_recurrent_cells_have_a_call_for_each_step(cell):
    record = measure(Steps(cell), torch.randn(3, 5, 6))
    assert [(layer.name, layer.call) for layer in record.layers] == [*(("cell", t) for t in range(5)), ("head", 0)]
    assert [layer.sources for layer in record.layers] == [(), (0,), (1,), (2,), (3,), (4,)]
    assert all(layer.gradient is not None for layer in record.layers)


def test_packed_sequences(layers_of):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, packed):
            return self.head(self.rnn(packed)[1][-1])

    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 5, 6), torch.tensor([5, 3, 2]), batch_first=True)
    found = layers_of(Packed(), packed)
    assert found["head"].sources == (0,)


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True, **options), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0])


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 6}, {"bias": False}, {"add_bias_kv": True}])
def test_multihead_attention_is_one_opaque_layer(options, layers_of):
    model = SelfAttention(**options)
    found = layers_of(model, torch.randn(3, 5, 6))
    assert list(reversed(found)) == ["attention", "head"]
    assert found["attention"].role == "opaque"
    assert found["attention"].fans == fans(model.attention)
    assert {p.name for p in found["attention"].parameters} == {
        f"attention.{name}" for name, _ in model.attention.named_parameters()
    }


# Raw weights
