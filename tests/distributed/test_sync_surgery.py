"""Converted, accelerated and recalibrated over several processes: what one process computes."""

import pytest
import torch
from ranks.surgery import SIZES, operated


@pytest.mark.parametrize("world", sorted(SIZES))
def test_several_processes_compute_what_one_does(ranks_of, world):
    ranks, wanted = [rank["surgery"] for rank in ranks_of(world)], operated(world)
    torch.testing.assert_close(torch.cat([rank["output"] for rank in ranks]), wanted["output"])
    for rank in ranks:
        for in_turn in (False, True):
            torch.testing.assert_close(rank[in_turn], wanted[in_turn])
