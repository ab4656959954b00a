from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from evenflow.probe import measure


def test_four_threads_measure_one_model_as_one_does():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    batch = (torch.randn(32, 8), torch.randint(3, (32,)))
    alone = measure(model, batch)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: measure(model, batch), range(8)))

    assert all([layer.name for layer in record.layers] == ["0", "2"] for record in together)
    assert all(record.loss == alone.loss for record in together)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
