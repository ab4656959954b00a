"""Gradient checkpointing runs a layer twice; its statistics move once, and its gradients are those without."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from evenflow.errors import ModelError
from evenflow.kernels import batch_norm as kernels
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm,
    GhostBatchNorm,
    MaskedBatchNorm,
    SyncBatchNorm,
    provisional_statistics,
    whole_batch,
)

KINDS = {
    "plain": lambda: BatchNorm1d(3, activation="silu"),
    "accumulating": lambda: BatchNorm1d(3, accumulate=2),
    "averaging": lambda: BatchNorm1d(3, momentum=None),
    "ghost": lambda: GhostBatchNorm(3, ghost_batch_size=4),
    "renorm": lambda: BatchRenorm(3, momentum=0.5, r_ramp=(0, 0), d_ramp=(0, 0)),
    "masked": lambda: MaskedBatchNorm(3),
    "sync": lambda: SyncBatchNorm(3),
}


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def step(model, x, reentrant):
    x = x.clone().requires_grad_()
    y = model(x) if reentrant is None else checkpoint(model, x, use_reentrant=reentrant)
    y.pow(3).sum().backward()
    return [y.detach(), x.grad, *[p.grad.clone() for p in model.parameters()]]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_peer_torch_checkpointing_updates_the_statistics_twice(kind, reentrant):
    plain = nn.Sequential(nn.Linear(3, 3), KINDS[kind](), nn.Tanh(), KINDS[kind](), nn.Linear(3, 2)).double()
    checked = copy.deepcopy(plain)
    for seed in range(3):
        x = normal(10, 3, seed=seed) + seed
        for mine, wanted in zip(step(checked, x, reentrant), step(plain, x, None), strict=True):
            torch.testing.assert_close(mine, wanted)
    for mine, wanted in zip(checked.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted)
    if kind != "accumulating":
        assert checked[1].num_batches_tracked == {"ghost": 9}.get(kind, 3)


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("worth", [1, 10**12])
def test_a_recomputation_keeps_the_tensors_of_the_first_pass(monkeypatch, worth, early_stop):
    monkeypatch.setattr(kernels, "WORTH_LOADING", worth)
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3), BatchNorm2d(4, activation="relu"), nn.Conv2d(4, 4, 3), BatchNorm2d(4), nn.Tanh()
    ).double()
    checked = copy.deepcopy(plain)
    x = normal(3, 3, 8, 8)
    with set_checkpoint_early_stop(early_stop):
        for mine, wanted in zip(step(checked, x, False), step(plain, x, None), strict=True):
            torch.testing.assert_close(mine, wanted)
    assert checked[1].num_batches_tracked == checked[3].num_batches_tracked == 1


def test_torchs_layer_moves_twice_so_the_test_above_can_fail():
    layer = nn.BatchNorm1d(3).double()
    step(layer, normal(8, 3), reentrant=False)
    assert layer.num_batches_tracked == 2


@pytest.mark.parametrize("reentrant", [False, True])
def test_nested_checkpoints_move_them_once(reentrant):
    inner, outer = BatchNorm1d(3).double(), BatchNorm1d(3).double()

    def block(x):
        return outer(checkpoint(inner, x, use_reentrant=reentrant))

    x = normal(8, 3).requires_grad_()
    checkpoint(block, x, use_reentrant=reentrant).pow(3).sum().backward()
    assert inner.num_batches_tracked == outer.num_batches_tracked == 1


def test_the_next_step_counts_again_and_a_graph_may_be_used_twice():
    layer = BatchNorm1d(3).double()
    x = normal(8, 3).requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    y.sum().backward(retain_graph=True)
    y.pow(2).sum().backward()
    assert layer.num_batches_tracked == 1
    layer(x)
    assert layer.num_batches_tracked == 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", [BatchNorm1d, BatchRenorm, SyncBatchNorm])
def test_a_bad_batch_is_skipped_and_recomputed_like_any_other(kind, reentrant, bad):
    layer = kind(3, on_nonfinite="skip").double()
    x = normal(8, 3)
    x[0, 0] = bad
    step(layer, x, reentrant)
    assert layer.num_batches_tracked == 0
    assert layer.running_mean.isfinite().all()


def test_rolled_back_between_forward_and_recomputation():
    layer = BatchNorm1d(3).double()
    x = normal(8, 3).requires_grad_()
    with provisional_statistics(layer) as step_:
        y = checkpoint(layer, x, use_reentrant=False)
        step_.roll_back()
        y.sum().backward()
    assert layer.num_batches_tracked == 0
    assert not layer.running_mean.any()


def test_several_forward_passes_of_a_renormalising_layer_before_their_backward_passes():
    plain = BatchRenorm(3, momentum=0.5, r_ramp=(0, 0), d_ramp=(0, 0)).double()
    checked = copy.deepcopy(plain)
    xs = [normal(8, 3, seed=seed).requires_grad_() for seed in range(3)]
    expected = torch.autograd.grad(sum(plain(x).pow(3).sum() for x in xs), xs)
    found = torch.autograd.grad(sum(checkpoint(checked, x, use_reentrant=False).pow(3).sum() for x in xs), xs)
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_a_renormalising_layer_refuses_a_recomputation_that_it_does_not_remember():
    layer = BatchRenorm(3).double()
    x = normal(8, 3).requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    for seed in range(64):
        layer(normal(8, 3, seed=seed + 1))
    with pytest.raises(ModelError, match="not among the last 64"):
        y.sum().backward()


def test_whole_batches_can_be_checkpointed():
    block = nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3), nn.Tanh(), BatchRenorm(3, r_ramp=(0, 0), d_ramp=(0, 0)))
    head = nn.Sequential(nn.Linear(3, 2), MaskedBatchNorm(2))
    plain = nn.Sequential(block, head).double()
    checked = Checkpointed(copy.deepcopy(plain))
    parts = [normal(size, 3, seed=size) for size in (4, 1, 3)]
    y = plain(torch.cat(parts))
    y.pow(3).sum().backward()
    ys = torch.cat(whole_batch(checked, parts))
    ys.pow(3).sum().backward()
    torch.testing.assert_close(ys, y)
    for mine, wanted in zip(checked.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad)
    for mine, wanted in zip(checked.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_a_bad_whole_batch_is_recomputed_like_any_other():
    model = Checkpointed(nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3, on_nonfinite="skip")).double())
    torch.cat(whole_batch(model, [normal(4, 3), torch.full((2, 3), torch.nan).double()])).sum().backward()
    assert model.inner[1].num_batches_tracked == 0


def test_whole_batches_and_reentrant_checkpoints_are_refused():
    model = Checkpointed(nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3)).double(), reentrant=True)
    parts = [normal(4, 3, seed=seed).requires_grad_() for seed in range(2)]
    loss = torch.cat(whole_batch(model, parts)).pow(3).sum()
    with pytest.raises(ModelError, match="use_reentrant=False"):
        loss.backward()


# torch's own tracer makes an object of each autograd.Function, and warns of itself.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("outside", [False, True])
def test_a_compiled_renormalising_layer_refuses_to_be_recomputed(outside):
    torch._dynamo.reset()
    layer = nn.Sequential(BatchRenorm(3, r_ramp=(0, 0), d_ramp=(0, 0))).double()
    x = normal(8, 3).requires_grad_()
    if outside:
        y = checkpoint(torch.compile(layer, backend="aot_eager"), x, use_reentrant=False)
    else:
        y = torch.compile(Checkpointed(layer), backend="aot_eager")(x)
    with pytest.raises(ModelError, match="compiled"):
        y.pow(3).sum().backward()
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["plain", "averaging", "masked", "sync", "ghost"])
def test_a_compiled_model_that_checkpoints_moves_them_once(kind):
    torch._dynamo.reset()
    plain = nn.Sequential(nn.Linear(3, 3), KINDS[kind]()).double()
    inner = copy.deepcopy(plain)
    x = normal(10, 3).requires_grad_()
    compiled = torch.compile(Checkpointed(inner), backend="aot_eager", fullgraph=True)
    gradients = [torch.autograd.grad(model(x).pow(3).sum(), x)[0] for model in (compiled, plain)]
    torch.testing.assert_close(*gradients)
    for mine, wanted in zip(inner.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted)
    torch._dynamo.reset()


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant=False):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)
