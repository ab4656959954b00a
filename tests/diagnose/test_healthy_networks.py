"""Networks in good health get no error, over many seeds; and hard cases that look sick and are not."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.diagnose import check


def serious(diagnosis):
    return [
        (finding.severity, finding.rule, finding.layer) for finding in diagnosis.findings if finding.severity != "note"
    ]


def errors(diagnosis):
    return [found for found in serious(diagnosis) if found[0] == "error"]


def test_no_error_in_a_healthy_family(healthy):
    batch = healthy.batch()
    for seed in range(healthy.repeats):
        torch.manual_seed(seed)
        assert errors(check(healthy.build(), batch)) == [], f"seed {seed}"


class Fixup(nn.Module):
    """Residual branches and a head that start at zero (Zhang et al. 2019)."""

    def __init__(self, zoo, depth=6):
        super().__init__()
        self.stem, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        self.up = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        for layer in (self.stem, *self.up):
            zoo.he_(layer.weight)
        for layer in (self.head, *self.down):
            nn.init.zeros_(layer.weight)

    def forward(self, x):
        x = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(F.relu(up(x)))
        return self.head(x)


class LowRankAdapted(nn.Module):
    """Frozen layers with a low-rank path beside them that starts at zero (Hu et al. 2022)."""

    def __init__(self, zoo, adapter_first, depth=4):
        super().__init__()
        self.adapter_first = adapter_first
        self.body = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(64, 4, bias=False) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(4, 64, bias=False) for _ in range(depth))
        self.head = nn.Linear(64, 10)
        for layer, up in zip(self.body, self.up, strict=True):
            zoo.he_(layer.weight)
            layer.requires_grad_(requires_grad=False)
            nn.init.zeros_(up.weight)

    def forward(self, x):
        for layer, down, up in zip(self.body, self.down, self.up, strict=True):
            if self.adapter_first:
                low_rank = up(down(x))
                x = F.relu(low_rank + layer(x))
            else:
                whole = layer(x)
                x = F.relu(whole + up(down(x)))
        return self.head(x)


class MaskedAttention(nn.Module):
    """Attention with a mask of minus infinity in a buffer."""

    def __init__(self):
        super().__init__()
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 10)
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))

    def forward(self, x):
        query, key, value = self.qkv(x).chunk(3, -1)
        weights = torch.softmax(query @ key.mT / math.sqrt(8) + self.mask, -1)
        return self.head((weights @ value).mean(1))


def test_residual_branches_and_a_head_of_zeros(zoo):
    assert serious(check(Fixup(zoo), zoo.digit_vectors())) == []


@pytest.mark.parametrize("adapter_first", [False, True])
def test_low_rank_adapters(zoo, adapter_first):
    torch.manual_seed(0)
    diagnosis = check(LowRankAdapted(zoo, adapter_first), zoo.digit_vectors())
    assert serious(diagnosis) == []
    assert [finding.rule for finding in diagnosis.findings] == ["frozen"]


def test_a_mask_of_infinities_in_a_buffer(zoo):
    torch.manual_seed(0)
    assert check(MaskedAttention(), zoo.digit_rows()).findings == ()


def test_a_head_that_starts_small_as_in_reinforcement_learning(zoo):
    torch.manual_seed(0)
    model = zoo.mlp(4, nn.Tanh, weight_=lambda weight: nn.init.orthogonal_(weight, math.sqrt(2)))
    nn.init.orthogonal_(model[-1].weight, 0.01)
    assert serious(check(model, zoo.digit_vectors())) == []


@pytest.mark.parametrize(
    "parametrize",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
    ],
)
def test_parametrised_weights(zoo, parametrize):
    torch.manual_seed(0)
    model = zoo.mlp(4, weight_=zoo.he_)
    for layer in zoo.linears(model):
        parametrize(layer)
    assert serious(check(model, zoo.digit_vectors())) == []


def test_an_average_over_a_large_image(zoo):
    torch.manual_seed(0)
    layers = [part for width in (3, 8, 8, 8) for part in (nn.Conv2d(width, 8, 3, padding=1), nn.ReLU())]
    for layer in layers[::2]:
        zoo.he_(layer.weight)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    batch = torch.randn(4, 3, 128, 128), torch.randint(10, (4,))
    assert serious(check(model, batch)) == []


def test_a_trained_classifier_that_is_certain(zoo):
    inputs, targets = zoo.digit_vectors()
    even = (targets % 2 == 0).float()[:, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        F.binary_cross_entropy(model(inputs), even).backward()
        optimizer.step()
    diagnosis = check(model, (inputs, even), F.binary_cross_entropy)
    assert diagnosis.layers[-1].activation.saturated > 0.5
    assert serious(diagnosis) == []


def test_raw_pixels_before_a_batch_norm(zoo):
    inputs, targets = zoo.digit_images()
    torch.manual_seed(0)
    diagnosis = check(zoo.ResNet(), (100 + 100 * inputs, targets))
    assert [(finding.severity, finding.rule) for finding in diagnosis.findings] == [("note", "input-scale")]


def test_a_batch_of_ones_gets_a_note(zoo):
    torch.manual_seed(0)
    diagnosis = check(zoo.mlp(10, weight_=zoo.he_), (torch.ones(32, 64), torch.arange(32) % 10))
    assert [(finding.severity, finding.rule) for finding in diagnosis.findings] == [("note", "constant-input")]


@pytest.mark.parametrize("samples", [1, 2, 8])
def test_small_batches(zoo, samples):
    inputs, targets = zoo.digit_vectors()
    torch.manual_seed(0)
    assert errors(check(zoo.mlp(10, weight_=zoo.he_), (inputs[:samples], targets[:samples]))) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(zoo, dtype):
    inputs, targets = zoo.digit_vectors()
    torch.manual_seed(0)
    assert errors(check(zoo.mlp(10, weight_=zoo.he_).to(dtype), (inputs.to(dtype), targets))) == []
