import torch
from torch import nn
from torch.nn import functional as F

from evenflow.diagnose import check


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))).detach())


def findings(model):
    batch = (torch.randn(32, 8), torch.randint(3, (32,)))
    return [f for f in check(model, batch).findings if f.rule == "cut-gradient"]


def test_layers_before_a_detach_are_named_from_the_cut_back():
    (found,) = findings(Detached())
    assert (found.severity, found.layer, found.layers) == ("warning", "second", ("second", "first"))


def test_frozen_layers_are_meant_so():
    model = Detached()
    model.first.requires_grad_(False)
    model.second.requires_grad_(False)
    assert findings(model) == []


def test_a_whole_graph_has_no_cut():
    assert findings(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))) == []
