"""Dropout is noise, which a measurement of what depends on the input must not take for signal."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evenflow.probe import measure


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5)

    def forward(self, x):
        return self.attention(x[None], x[None], x[None])[0][0]


@pytest.mark.parametrize("noise", [nn.Dropout(0.5), Functional(), nn.AlphaDropout(0.5), Attention()])
def test_equal_samples_stay_equal(noise):
    model = nn.Sequential(nn.Linear(4, 4), noise, nn.Linear(4, 2))
    record = measure(model, torch.ones(16, 4))
    assert record.layers[-1].output.spread == pytest.approx(0, abs=1e-6)
    assert noise.training


def test_the_rate_of_a_recurrent_layer_is_restored():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 8, 2, dropout=0.5, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[1][0][-1]

    model = Reader()
    record = measure(model, torch.ones(16, 5, 4))
    assert record.output.spread == pytest.approx(0, abs=1e-6)
    assert model.lstm.dropout == 0.5
    assert record.layers[0].gradient is not None
