"""Synchronised over 2, 3 and 4 processes, uneven and one empty: outputs, gradients and statistics of one process."""

from functools import cache

import pytest
import torch
from ranks.norms import CASES, SIZES, STEPS, alone, network_alone, normal

from evenflow.norm import BatchNorm1d

WORLDS = sorted(SIZES)


@cache
def expected(case, world, exact):
    return alone(case, world, exact=exact)


def close(found, wanted, case, tolerance=None):
    low = CASES.get(case, {}).get("dtype") == torch.float32
    rtol = tolerance or (1e-5 if low else 1e-10)
    torch.testing.assert_close(found.to(wanted.dtype), wanted, rtol=rtol, atol=rtol, equal_nan=True)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_peer_torch_sync_batch_norm_refuses_cpu_tensors(ranks_of, case, world):
    ranks = [rank["norm"][case] for rank in ranks_of(world)]
    wanted = expected(case, world, exact=case == "far from zero")
    for step in range(STEPS):
        close(torch.cat([rank["outputs"][step] for rank in ranks]), wanted["outputs"][step], case)
        close(torch.cat([rank["gradients"][step] for rank in ranks]), wanted["gradients"][step], case)
        for place, gradient in enumerate(wanted["weights"][step]):
            close(sum(rank["weights"][step][place] for rank in ranks), gradient, case)
        for rank in ranks:
            for mine, buffer in zip(rank["buffers"][step], wanted["buffers"][step], strict=True):
                close(mine, buffer, case)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_bits_of_the_statistics(ranks_of, case, world):
    first, *others = [rank["norm"][case]["buffers"][-1] for rank in ranks_of(world)]
    for rank in others:
        for mine, buffer in zip(rank, first, strict=True):
            assert torch.equal(mine.nan_to_num(nan=7.0), buffer.nan_to_num(nan=7.0))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("way", "share"), [("plain", 1), ("checkpoint", 1), ("micro", 1), ("ddp", 0)])
def test_gradients_of_a_network_are_those_of_one_process(ranks_of, way, share, world):
    gradients, buffers = network_alone(world)["plain"]
    ranks = [rank["norm"]["network"][way] for rank in ranks_of(world)]
    for place, wanted in enumerate(gradients):
        # DDP has averaged them over the processes already.
        found = sum(rank[0][place] for rank in ranks) if share else ranks[0][0][place] * world
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for rank in ranks:
        for mine, wanted in zip(rank[1], buffers, strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("world", WORLDS)
def test_second_derivatives_are_those_of_one_process(ranks_of, world):
    found = torch.cat([rank["norm"]["network"]["second"] for rank in ranks_of(world)])
    torch.testing.assert_close(found, network_alone(world)["second"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("world", WORLDS)
def test_lengths_may_differ_between_processes(ranks_of, world):
    ranks = [rank["norm"]["lengths"] for rank in ranks_of(world)]
    values = torch.cat([x.transpose(0, 1).flatten(1).t() for x, *_ in ranks])
    layer = BatchNorm1d(values.shape[1]).double()
    found = torch.cat([y.transpose(0, 1).flatten(1).t() for _, y, _ in ranks])
    torch.testing.assert_close(found, layer(values).detach())
    for *_, variance in ranks:
        torch.testing.assert_close(variance, layer.running_var)


@pytest.mark.parametrize("world", WORLDS)
def test_all_processes_refuse_a_bad_batch_together_and_go_on(ranks_of, world):
    found = [rank["norm"]["faults"] for rank in ranks_of(world)]
    for rank in found:
        assert rank["bad"][0] == "NonFiniteError"
        assert "2 of 2 channels" in rank["bad"][1]
        assert rank["single"][0] == "TensorShapeError"
        assert rank["empty"] == (0, 2)
        mean, variance, tracked = rank["state"]
        assert not mean.any()
        assert variance.eq(1).all()
        assert tracked == 0
        assert rank["after"] == 1
    assert found[0]["eval"] == (1, 2)


def test_a_process_group_synchronises_its_members_alone(ranks_of):
    means = [rank["norm"]["groups"] for rank in ranks_of(4)]
    for half in (0, 2):
        wanted = 0.1 * torch.cat([normal(4, 2, seed=seed) for seed in (half, half + 1)]).mean(0)
        for mean in means[half : half + 2]:
            torch.testing.assert_close(mean, wanted)
