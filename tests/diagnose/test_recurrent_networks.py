"""Classifiers that read the last state of a recurrent layer, as most do."""

import pytest
import torch
from torch import nn

from evenflow.diagnose import check


class Reader(nn.Module):
    def __init__(self, std=None):
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)
        self.fc, self.head = nn.Linear(64, 32), nn.Linear(32, 4)
        if std is not None:
            for parameter in self.lstm.parameters():
                nn.init.normal_(parameter, std=std)

    def forward(self, tokens):
        _, (state, _) = self.lstm(self.embedding(tokens))
        return self.head(torch.relu(self.fc(state[-1])))


def batch():
    return torch.randint(50, (32, 40)), torch.randint(4, (32,))


@pytest.mark.parametrize("seed", range(6))
def test_torchs_own_initialisation_is_no_cause_for_alarm(seed):
    torch.manual_seed(seed)
    serious = [f.rule for f in check(Reader(), batch()).findings if f.severity != "note"]
    assert serious == []


def test_huge_recurrent_weights_are_not_called_healthy():
    torch.manual_seed(0)
    found = check(Reader(std=2.0), batch()).findings
    assert any(f.rule == "exploding-gradient" and f.severity == "error" for f in found)
