"""Micro-batches that count as one batch: outputs, gradients and statistics are those of the whole."""

import copy
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evenflow.errors import BatchError, ModelError, NonFiniteError, TensorShapeError
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm,
    GhostBatchNorm,
    MaskedBatchNorm,
    SyncBatchNorm,
    whole_batch,
)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    """Normalisations in a row, beside each other, with a residual, and one used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm, self.other = BatchNorm2d(4, activation="relu"), BatchNorm2d(4, activation="silu")
        self.twice = BatchNorm2d(4, momentum=0.3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head, self.last = nn.Linear(4, 3), BatchNorm1d(3, momentum=None)

    def forward(self, x):
        h = self.norm(self.twice(self.first(x)))
        h = self.other(self.twice(self.second(h)), residual=h)
        return self.last(self.head(h.mean((2, 3))))


def loss_of(outputs):
    return (outputs.pow(3) * torch.arange(1.0, outputs.numel() + 1).reshape(outputs.shape)).sum()


def assert_same_step(model, parts, rtol=1e-9):
    whole, parted = model, copy.deepcopy(model)
    together = torch.cat(parts).requires_grad_()
    micro = [part.clone().requires_grad_() for part in parts]
    expected = whole(together)
    found = whole_batch(parted, micro)
    assert [len(output) for output in found] == [len(part) for part in parts]
    torch.testing.assert_close(torch.cat(found), expected, rtol=rtol, atol=rtol)
    loss_of(expected).backward()
    loss_of(torch.cat(found)).backward()
    torch.testing.assert_close(torch.cat([x.grad for x in micro]), together.grad, rtol=rtol, atol=rtol)
    for mine, wanted in zip(parted.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad, rtol=rtol, atol=rtol)
    for mine, wanted in zip(parted.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=rtol, atol=rtol)


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5).filter(lambda s: sum(s) > 1), seed=st.integers(0, 9))
def test_everything_equals_the_whole_batch(sizes, seed):
    torch.manual_seed(seed)
    assert_same_step(Residual().double(), [normal(size, 2, 4, 4, seed=i) for i, size in enumerate(sizes)])


def test_peer_torch_gradient_accumulation_sees_micro_batch_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2), BatchNorm1d(2)).double()
    parts = [normal(4, 3, seed=seed) + seed for seed in range(4)]  # unlike each other, as the classes of a sorted file
    accumulated = copy.deepcopy(model)
    for part in parts:
        loss_of(accumulated(part)).backward()
    assert_same_step(model, parts)
    assert (accumulated[0].weight.grad - model[0].weight.grad).norm() > 0.1 * model[0].weight.grad.norm()


@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_in_float32_within_float_tolerance_also_far_from_zero(mean):
    layer = BatchNorm1d(3, affine=False)
    parts = [(normal(6, 3, 4, seed=seed) + mean).float() for seed in range(3)]
    exact = BatchNorm1d(3, affine=False, dtype=torch.float64)(torch.cat(parts).double())
    torch.testing.assert_close(torch.cat(whole_batch(layer, parts)).double(), exact, rtol=0, atol=4e-6)


@pytest.mark.parametrize(
    "kind",
    [
        lambda: BatchRenorm(3, r_ramp=(0, 0), d_ramp=(0, 0)),
        lambda: MaskedBatchNorm(3, activation="gelu"),
        lambda: SyncBatchNorm(3),
        lambda: BatchNorm1d(3, running_variance="biased", statistics_dtype=torch.float64),
        lambda: BatchNorm1d(3, track_running_stats=False),
        lambda: BatchNorm1d(3, accumulate=2),
        lambda: BatchNorm1d(3, frozen=True),
        lambda: BatchNorm1d(3).eval(),
        lambda: GhostBatchNorm(3, ghost_batch_size=2),
    ],
)
def test_every_kind_of_layer(kind):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 3), kind(), nn.Tanh(), nn.Linear(3, 2), BatchNorm1d(2)).double()
    # Ghost batches of 2 are cut alike only where micro-batches end with one.
    assert_same_step(model, [normal(size, 3, seed=size) for size in (4, 2, 6)])


def test_masked_micro_batches_of_different_lengths():
    layer = MaskedBatchNorm(2, momentum=1.0).double()
    xs, lengths = [normal(3, 2, length, seed=length) for length in (4, 7)], ([4, 2, 1], [7, 3, 5])
    masks = [torch.arange(x.shape[2]) < torch.tensor(n).unsqueeze(1) for x, n in zip(xs, lengths, strict=True)]
    ys = whole_batch(layer, list(zip(xs, masks, strict=True)))
    valid = torch.cat([x.transpose(1, 2)[mask] for x, mask in zip(xs, masks, strict=True)])
    expected = BatchNorm1d(2).double()(valid)
    torch.testing.assert_close(torch.cat([y.transpose(1, 2)[m] for y, m in zip(ys, masks, strict=True)]), expected)
    torch.testing.assert_close(layer.running_var, valid.var(0))


def test_images_of_different_sizes_that_no_batch_could_hold():
    layer = BatchNorm2d(2).double()
    xs = [normal(1, 2, 5, 5), normal(1, 2, 3, 8, seed=1)]
    ys = whole_batch(layer, xs)
    values = torch.cat([y.transpose(0, 1).flatten(1) for y in ys], 1)
    torch.testing.assert_close(values.mean(1), torch.zeros(2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(values.var(1, correction=0), torch.ones(2).double(), rtol=1e-4, atol=0)


def test_without_grad_there_is_no_graph_and_the_statistics_move():
    model = nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3))
    with torch.no_grad():
        ys = whole_batch(model, [normal(2, 3).float(), normal(3, 3, seed=1).float()])
    assert not any(y.requires_grad for y in ys)
    assert model[1].num_batches_tracked == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_reaches_the_threads(enabled):
    model = nn.Sequential(nn.Linear(3, 3), BatchNorm1d(3))
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        y = whole_batch(model, [normal(2, 3).float(), normal(3, 3).float()])[0]
    assert y.dtype == (torch.bfloat16 if enabled else torch.float32)


def test_inference_mode_reaches_the_threads():
    with torch.inference_mode():
        assert whole_batch(nn.Sequential(nn.Linear(3, 3)), [normal(2, 3).float()])[0].is_inference()


def test_inputs_as_tuples_and_dicts_and_outputs_of_any_kind():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = BatchNorm1d(3)

        def forward(self, x, scale=1):
            return {"out": self.norm(x) * scale}

    x = normal(4, 3).float()
    tensors = whole_batch(Model(), [x, x])
    tuples = whole_batch(Model(), [(x, 2), (x, 2)])
    dicts = whole_batch(Model(), [{"x": x, "scale": 2}, {"x": x}])
    torch.testing.assert_close(tuples[0]["out"], 2 * tensors[0]["out"])
    torch.testing.assert_close(dicts[0]["out"], tuples[1]["out"])


def test_random_numbers_are_drawn_in_the_order_of_the_micro_batches():
    model = nn.Sequential(nn.Dropout(0.5), BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    xs = [normal(6, 8, seed=seed).float() for seed in range(4)]

    def run():
        torch.manual_seed(0)
        return torch.cat(whole_batch(copy.deepcopy(model), xs))

    assert torch.equal(run(), run())


def buffers_of(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_untouched(model, before):
    for name, value in before.items():
        assert torch.equal(model.get_buffer(name), value), name
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "ThreadPool" in t.name]


class Fragile(nn.Module):
    """Raises, or leaves a layer out, for the micro-batch that begins with 7."""

    def __init__(self, fault):
        super().__init__()
        self.first, self.second, self.third = BatchNorm1d(2), BatchNorm1d(2), BatchNorm1d(2)
        self.fault = fault

    def forward(self, x):
        odd = x[0, 0] == 7
        h = self.first(x)
        if odd and self.fault == "raise":
            raise ArithmeticError("half way")
        if odd and self.fault == "other":
            return self.third(h)
        return h if odd and self.fault == "stop" else self.third(self.second(h))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("fault", "error"), [("raise", ArithmeticError), ("stop", BatchError), ("other", BatchError)])
def test_a_micro_batch_that_fails_or_goes_astray_stops_all_and_changes_nothing(fault, error, place):
    model = Fragile(fault)
    xs = [normal(3, 2, seed=seed).float() for seed in range(3)]
    xs[place][0, 0] = 7
    before = buffers_of(model)
    with pytest.raises(error):
        whole_batch(model, xs)
    assert_untouched(model, before)
    xs[place][0, 0] = 1
    whole_batch(model, xs)
    assert model.third.num_batches_tracked == 1


def test_a_bad_micro_batch_is_handled_as_a_bad_whole_batch():
    xs = [normal(3, 2).float(), torch.full((2, 2), torch.nan)]
    skipping, raising = BatchNorm1d(2, on_nonfinite="skip"), BatchNorm1d(2, on_nonfinite="raise")
    assert torch.cat(whole_batch(skipping, xs)).isnan().all()
    assert skipping.num_batches_tracked == 0
    before = buffers_of(raising)
    with pytest.raises(NonFiniteError, match="2 of 2 channels"):
        whole_batch(raising, xs)
    assert_untouched(raising, before)


def test_one_value_per_channel_in_all_is_rejected():
    with pytest.raises(TensorShapeError, match="more than one value"):
        whole_batch(BatchNorm1d(2), [torch.zeros(1, 2), torch.zeros(0, 2)])


def test_empty_micro_batches_take_part():
    model = nn.Sequential(nn.Linear(2, 2), BatchNorm1d(2)).double()
    assert_same_step(model, [normal(0, 2), normal(3, 2), normal(0, 2), normal(2, 2, seed=1)])


def test_no_micro_batch_is_refused():
    with pytest.raises(BatchError, match="at least one"):
        whole_batch(BatchNorm1d(2), [])


def test_layers_of_torch_in_training_are_refused_and_allowed_in_eval_mode():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ModelError, match="1 is torch's BatchNorm1d"):
        whole_batch(model, [normal(3, 2).float()])
    model[1].eval()
    assert whole_batch(model, [normal(3, 2).float()])[0].shape == (3, 2)


def test_compiled_models_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), BatchNorm1d(2))
    with pytest.raises(ModelError, match="compiled"):
        whole_batch(torch.compile(model, backend="eager"), [normal(3, 2).float()])
    model[1].compile(backend="eager")
    with pytest.raises(ModelError, match="1 is compiled"):
        whole_batch(model, [normal(3, 2).float()])


def test_an_ordinary_step_after_it_is_ordinary():
    model = nn.Sequential(BatchNorm1d(2)).double()
    whole_batch(model, [normal(3, 2), normal(4, 2)])
    assert len(model[0].shared_calls) == 2
    x = normal(5, 2, seed=3)
    torch.testing.assert_close(model(x), nn.BatchNorm1d(2).double()(x))
    assert len(model[0].shared_calls) == 0
