"""Which layers read which, and which have another path around them."""

import torch
import torch.nn.functional as F
from torch import nn

from evenflow.probe import measure


def paths(model, *inputs):
    record = measure(model, (inputs, None))
    names = [layer.name for layer in record.layers]
    sources = {layer.name: [names[source] for source in layer.sources] for layer in record.layers}
    return sources, {layer.name for layer in record.layers if layer.bypassed}


class Residual(nn.Module):
    def __init__(self, width=6, depth=2):
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return self.head(x)


def test_a_residual_branch_is_bypassed_and_the_stem_is_not():
    sources, bypassed = paths(Residual(), torch.randn(4, 6))
    assert bypassed == {"blocks.0", "blocks.1"}
    assert sources["blocks.1"] == ["stem", "blocks.0"]
    assert sources["head"] == ["stem", "blocks.0", "blocks.1"]


class InPlaceSum(Residual):
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            y = torch.relu(block(x)) * 1
            y += x
            x = y
        return self.head(x)


class Subtracted(Residual):
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = torch.sub(x, block(x).relu())
        return self.head(x)


class BuiltinSum(Residual):
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = sum([x, block(x).relu()])
        return self.head(x)


def test_every_way_to_add():
    for model in (InPlaceSum(), Subtracted(), BuiltinSum()):
        assert paths(model, torch.randn(4, 6)) == paths(Residual(), torch.randn(4, 6))


class BasicBlock(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(y + self.shortcut(x), inplace=True)


def test_a_resnet_with_a_projection_shortcut():
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    model = nn.Sequential(stem, BasicBlock(4, 4, 1), BasicBlock(4, 8, 2), nn.Flatten(), nn.Linear(128, 3))
    sources, bypassed = paths(model, torch.randn(2, 3, 8, 8))
    inside = {f"1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")}
    inside |= {f"2.{part}" for part in ("conv1", "bn1", "conv2", "bn2", "shortcut.0", "shortcut.1")}
    assert bypassed == inside
    assert sources["1.conv1"] == ["0.1"]
    assert sources["2.conv1"] == sources["2.shortcut.0"] == ["0.1", "1.bn2"]
    assert sources["4"] == ["2.bn2", "2.shortcut.1"]


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 3 * index, 3, 3, padding=1) for index in range(3))
        self.head = nn.Conv2d(11, 2, 1)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], dim=1)
        return self.head(x)


def test_concatenation_as_in_densenet():
    sources, bypassed = paths(Dense(), torch.randn(2, 2, 5, 5))
    assert bypassed == {"layers.0", "layers.1", "layers.2"}
    assert sources["layers.2"] == ["layers.0", "layers.1"]
    assert sources["head"] == ["layers.0", "layers.1", "layers.2"]


class Gated(nn.Module):
    """A product is no way around: both factors count."""

    def __init__(self):
        super().__init__()
        self.value, self.gate, self.out = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.value(x) * F.silu(self.gate(x)))


def test_the_factors_of_a_gate_do_not_bypass_each_other():
    sources, bypassed = paths(Gated(), torch.randn(4, 6))
    assert bypassed == set()
    assert sources["out"] == ["value", "gate"]


class Masked(nn.Module):
    """Attention with an additive mask, and a bias for each sample: neither is a path around the layers."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))
        self.shift = nn.Linear(2, 6)

    def forward(self, x, mask, condition):
        scores = self.q(x) @ self.k(x).mT + mask[:, None, :]
        return scores.softmax(-1) @ self.v(x) + self.shift(condition)[:, None]


def test_what_is_broadcast_onto_a_signal_is_no_path_around_it():
    inputs = torch.randn(3, 5, 6), torch.zeros(3, 5), torch.randn(3, 2)
    _, bypassed = paths(Masked(), *inputs)
    assert bypassed == set()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        y = self.fc(x)
        return y + y


def test_a_sum_with_itself_bypasses_nothing():
    assert paths(Twice(), torch.randn(4, 6)) == ({"fc": []}, set())


class Written(nn.Module):
    """Writes its states into a tensor of zeros, as hand-written recurrent networks do."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        states = torch.zeros(len(x), x.shape[1], 4)
        for step in range(x.shape[1]):
            states[:, step] = torch.tanh(self.cell(x[:, step]))
        return self.head(states)


def test_item_assignment_carries_the_origin():
    record = measure(Written(), torch.randn(3, 2, 6))
    assert record.layers[-1].sources == (0, 1)


class OutArgument(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        with torch.no_grad():
            held = torch.empty(len(x), 4)
            torch.mul(self.fc(x), 2, out=held)
        return self.head(held)


def test_an_out_argument_carries_the_origin():
    assert paths(OutArgument(), torch.randn(4, 6))[0]["head"] == ["fc"]


def transformer_layer(norm_first):
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=norm_first)


class Transformer(nn.Module):
    def __init__(self, norm_first):
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.blocks = nn.Sequential(transformer_layer(norm_first), transformer_layer(norm_first))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.blocks(self.embed(x)))


def test_a_pre_norm_transformer():
    sources, bypassed = paths(Transformer(norm_first=True), torch.randn(2, 5, 6))
    block = [f"blocks.0.{part}" for part in ("norm1", "self_attn", "norm2", "linear1", "linear2")]
    assert list(sources)[:6] == ["embed", *block]
    assert bypassed == set(sources) - {"embed", "head"}
    assert sources["blocks.1.norm1"] == ["embed", "blocks.0.self_attn", "blocks.0.linear2"]


def test_a_post_norm_transformer():
    model = Transformer(norm_first=False)
    record = measure(model, torch.randn(2, 5, 6))
    found = {layer.name: layer for layer in record.layers}
    bypassed = {name for name, layer in found.items() if layer.bypassed}
    assert bypassed == {f"blocks.{i}.{part}" for i in (0, 1) for part in ("self_attn", "linear1", "linear2")}
    assert found["blocks.0.linear1"].activation.name == "relu"
    assert found["blocks.0.linear2"].normalised
    assert [record.layers[i].name for i in found["blocks.0.norm2"].sources] == ["blocks.0.norm1", "blocks.0.linear2"]
