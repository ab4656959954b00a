"""Batch renormalisation against the paper's algorithm, written out."""

import copy

import pytest
import torch
from torch import library, nn

from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.norm import BatchNorm1d, BatchRenorm
from evenflow.norm.correction import renorm_correction

AT_ONCE = {"r_ramp": (0, 0), "d_ramp": (0, 0)}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def algorithm_1(x, weight, bias, mean, variance, r_max, d_max, eps=1e-5):
    """Of the paper, with the running deviation as the root of the running variance."""
    over = [0, *range(2, x.dim())]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    batch_mean = x.mean(over)
    batch_std = (x.var(over, correction=0) + eps).sqrt()
    std = (variance + eps).sqrt()
    r = (batch_std / std).clamp(1 / r_max, r_max).detach()
    d = ((batch_mean - mean) / std).clamp(-d_max, d_max).detach()
    hat = (x - batch_mean.view(shape)) / batch_std.view(shape) * r.view(shape) + d.view(shape)
    return weight.view(shape) * hat + bias.view(shape)


@pytest.mark.parametrize("shape", [(12, 3), (6, 3, 4), (4, 3, 2, 5)])
@pytest.mark.parametrize(("r_max", "d_max"), [(3.0, 5.0), (1.5, 0.2), (1.0, 0.0), (1e6, 1e6)])
def test_five_steps_are_the_papers(shape, r_max, d_max):
    layer = BatchRenorm(3, momentum=0.3, r_max=r_max, d_max=d_max, **AT_ONCE).double()
    nn.init.uniform_(layer.weight, 0.5, 2.0)
    nn.init.normal_(layer.bias)
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for step in range(5):
        x = (normal(*shape, seed=step) * (1 + step) + step).requires_grad_()
        parameters = [x, layer.weight, layer.bias]
        y, expected = layer(x), algorithm_1(x, layer.weight, layer.bias, mean, variance, r_max, d_max)
        torch.testing.assert_close(y, expected)
        gradients = [torch.autograd.grad(out.pow(3).sum(), parameters) for out in (y, expected)]
        for mine, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, wanted)
        over = [0, *range(2, x.dim())]
        mean = mean.lerp(x.detach().mean(over), 0.3)
        variance = variance.lerp(x.detach().var(over, correction=0), 0.3)
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, variance)


def test_unclipped_training_gives_what_eval_mode_would_have_given():
    layer = BatchRenorm(3, r_max=1e9, d_max=1e9, **AT_ONCE).double()
    for seed in range(4):
        layer(normal(5, 3, seed=seed) * 3 + 1)
    x = normal(5, 3, seed=9) * 3 + 1
    expected = layer.eval()(x)
    torch.testing.assert_close(layer.train()(x), expected)


def test_before_the_ramp_it_is_batch_normalisation():
    layer, plain = BatchRenorm(3).double(), BatchNorm1d(3).double()
    for seed in range(3):
        x = normal(5, 3, seed=seed) * 3 + 1
        torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize(
    ("tracked", "r_max", "d_max"),
    [
        (0, 1, 0),
        (5_000, 1, 0),
        (15_000, 1 + 2 * 10 / 35, 2.5),
        (25_000, 1 + 2 * 20 / 35, 5),
        (40_000, 3, 5),
        (10**6, 3, 5),
    ],
)
def test_the_limits_rise_as_in_the_paper(tracked, r_max, d_max):
    layer = BatchRenorm(3)
    layer.num_batches_tracked.fill_(tracked)
    limits = layer.limits()
    torch.testing.assert_close(torch.stack(limits), torch.tensor([float(r_max), float(d_max)]).double())


def test_small_batches_agree_with_eval_mode_better_than_batch_normalisation_does():
    distance = {}
    for kind in (BatchRenorm, BatchNorm1d):
        layer = kind(4, momentum=0.02, **(AT_ONCE if kind is BatchRenorm else {})).double()
        for seed in range(300):
            y = layer(x := normal(4, 4, seed=seed))
        distance[kind] = (y - layer.eval()(x)).square().mean().item()
    assert distance[BatchRenorm] < 0.02 * distance[BatchNorm1d]


@pytest.mark.parametrize("options", [{"affine": False}, {"bias": False}])
def test_without_scale_or_shift(options):
    layer = BatchRenorm(3, **AT_ONCE, **options).double()
    x = normal(8, 3) * 2 + 1
    expected = algorithm_1(x, torch.ones(3), torch.zeros(3), torch.zeros(3).double(), torch.ones(3).double(), 3, 5)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("on_nonfinite", ["skip", "raise"])
def test_a_bad_batch_does_not_poison_it(on_nonfinite):
    layer = BatchRenorm(3, on_nonfinite=on_nonfinite, **AT_ONCE).double()
    x = normal(8, 3)
    x[0, 0] = torch.nan
    if on_nonfinite == "skip":
        assert layer(x)[:, 0].isnan().all()
    else:
        with pytest.raises(NonFiniteError):
            layer(x)
    assert layer.num_batches_tracked == 0
    assert layer(normal(8, 3)).isfinite().all()


def test_one_value_is_rejected_and_an_empty_batch_changes_nothing():
    layer = BatchRenorm(3)
    with pytest.raises(TensorShapeError, match="more than one value"):
        layer(torch.zeros(1, 3))
    assert layer(torch.zeros(0, 3)).shape == (0, 3)
    assert layer.num_batches_tracked == 0


def test_second_derivatives_agree_with_finite_differences():
    layer = BatchRenorm(2, momentum=0.0, **AT_ONCE).double()
    with torch.no_grad():
        layer.running_var.fill_(0.01)  # both corrections are clipped, and so have no derivative
        layer.running_mean.fill_(9.0)
    x = normal(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"r_max": 0.5}, ParameterValueError, "r_max"),
        ({"d_max": -1.0}, ParameterValueError, "d_max"),
        ({"r_ramp": 5}, ParameterTypeError, "r_ramp"),
        ({"r_ramp": (5, 4)}, ParameterValueError, "r_ramp"),
        ({"d_ramp": (-1, 4)}, ParameterValueError, "d_ramp"),
        ({"d_ramp": (1, 2, 3)}, ParameterTypeError, "d_ramp"),
        ({"track_running_stats": False}, ParameterValueError, "track_running_stats"),
    ],
)
def test_bad_arguments_are_named(options, error, name):
    with pytest.raises(error, match=name):
        BatchRenorm(3, **options)


def test_the_correction_is_a_sound_operator():
    vectors = [normal(3, seed=seed).abs() for seed in range(4)]
    library.opcheck(renorm_correction, (*vectors, torch.tensor(3.0), torch.tensor(5.0), 1e-5))


# torch's own tracer makes an object of each autograd.Function, and warns of itself.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
def test_compiled_code_does_not_compute_the_correction_again_from_statistics_that_have_moved(backend):
    torch._dynamo.reset()
    layer = BatchRenorm(3, momentum=0.5, **AT_ONCE).double()
    compiled = torch.compile(copy.deepcopy(layer), backend=backend, fullgraph=True)
    x = (normal(8, 3) * 2 + 1).requires_grad_()
    gradients = [torch.autograd.grad(model(x).pow(3).sum(), x)[0] for model in (compiled, layer)]
    torch.testing.assert_close(*gradients)
    torch._dynamo.reset()
