"""The BatchNorm layers beside torch's: same numbers, checkpoints and class tree, and the peers' defects."""

import copy
import inspect
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.errors import (
    NonFiniteError,
    ParameterTypeError,
    ParameterValueError,
    TensorDtypeError,
    TensorShapeError,
    UnknownActivationError,
)
from evenflow.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

LAYERS = [
    (BatchNorm1d, nn.BatchNorm1d, (16, 3)),
    (BatchNorm1d, nn.BatchNorm1d, (8, 3, 5)),
    (BatchNorm2d, nn.BatchNorm2d, (8, 3, 4, 5)),
    (BatchNorm3d, nn.BatchNorm3d, (4, 3, 2, 3, 4)),
]
STATE = ("running_mean", "running_var", "num_batches_tracked")
OPTIONS = [
    {},
    {"momentum": None},
    {"momentum": 0.0},
    {"momentum": 1.0},
    {"affine": False},
    {"track_running_stats": False},
    {"eps": 0.1},
]


def batches(shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(shape, generator=generator) + 1 for _ in range(count)]


def state_of(layer: nn.Module) -> list[torch.Tensor]:
    return [layer.state_dict()[name].clone() for name in STATE]


def assert_state(layer: nn.Module, expected: list[torch.Tensor]) -> None:
    for now, before in zip(state_of(layer), expected, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize(("ours", "torchs", "shape"), LAYERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_twenty_training_steps_are_torchs(ours, torchs, shape, options):
    layers = ours(3, **options), torchs(3, **options)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) if list(m.parameters()) else None for m in layers]
    for x in batches(shape, 20):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            if optimizer is not None:
                optimizer.zero_grad()
                (layer(x) - x.tanh()).square().mean().backward()
                optimizer.step()
            else:
                layer(x)
    x = batches(shape, 1)[0]
    for mode in (True, False):
        outputs = [layer.train(mode)(x) for layer in layers]
        torch.testing.assert_close(*outputs)
    for name, value in layers[1].state_dict().items():
        torch.testing.assert_close(layers[0].state_dict()[name], value)


@pytest.mark.parametrize(("ours", "torchs", "shape"), LAYERS)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}, {"bias": False}])
def test_state_dicts_load_in_both_directions(ours, torchs, shape, options):
    trained, fresh = torchs(3, **options), ours(3, **options)
    trained(batches(shape, 1)[0])
    fresh.load_state_dict(trained.state_dict())
    back = torchs(3, **options)
    back.load_state_dict(fresh.state_dict())
    assert list(fresh.state_dict()) == list(trained.state_dict())
    x = batches(shape, 1)[0]
    torch.testing.assert_close(fresh.eval()(x), trained.eval()(x))
    torch.testing.assert_close(back.eval()(x), trained.eval()(x))


@pytest.mark.parametrize(("ours", "torchs", "shape"), LAYERS)
def test_class_tree_signature_and_repr_are_torchs(ours, torchs, shape):
    assert issubclass(ours, torchs)
    assert ours.__name__ == torchs.__name__
    ours_parameters = list(inspect.signature(ours).parameters.values())
    for mine, theirs in zip(ours_parameters, inspect.signature(torchs).parameters.values(), strict=False):
        assert (mine.name, mine.kind, mine.default) == (theirs.name, theirs.kind, theirs.default)
    assert repr(ours(3)) == repr(torchs(3))


def test_repr_names_what_is_not_torchs_default():
    assert "activation=relu, on_nonfinite=skip" in repr(BatchNorm1d(3, activation="relu", on_nonfinite="skip"))


def test_sync_batch_norm_conversion_takes_it():
    layer = BatchNorm2d(3, momentum=0.3)
    layer(batches((8, 3, 4, 5), 1)[0])
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(layer))[0]
    assert isinstance(converted, nn.SyncBatchNorm)
    assert converted.momentum == 0.3
    assert converted.running_mean is layer.running_mean
    assert converted.weight is layer.weight


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_stays_channels_last(training):
    x = batches((4, 3, 5, 6), 1)[0].contiguous(memory_format=torch.channels_last)
    for shift in (0.0, 1e6):
        y = BatchNorm2d(3).train(training)(x + shift)
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", F.relu),
        ("leaky_relu", F.leaky_relu),
        ("silu", F.silu),
        ("gelu", F.gelu),
        ("sigmoid", torch.sigmoid),
        ("tanh", torch.tanh),
        ("hardswish", F.hardswish),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_activation_is_applied_after(name, function, training):
    x = batches((8, 3), 1)[0]
    plain, activated = BatchNorm1d(3).train(training), BatchNorm1d(3, activation=name).train(training)
    assert torch.equal(activated(x), function(plain(x)))
    assert list(activated.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    "cast",
    [
        lambda layer: layer.half(),
        lambda layer: layer.bfloat16(),
        lambda layer: layer.to(torch.bfloat16),
        lambda layer: nn.Sequential(layer).half()[0],
        lambda layer: layer.double().half(),
        lambda layer: BatchNorm1d(3, dtype=torch.float16),
    ],
)
def test_running_statistics_stay_float32_in_a_half_layer(cast):
    layer = cast(BatchNorm1d(3))
    assert layer.weight.dtype.itemsize == 2
    assert layer.running_mean.dtype == layer.running_var.dtype == torch.float32
    y = layer(torch.randn(8, 3).to(layer.weight.dtype))
    y.sum().backward()
    assert y.dtype == layer.weight.grad.dtype == layer.weight.dtype
    assert layer.eval()(torch.randn(8, 3).to(layer.weight.dtype)).dtype == layer.weight.dtype


def test_casting_to_half_loses_no_digit_of_the_running_statistics():
    layer = BatchNorm1d(3)
    layer(batches((8, 3), 1)[0])
    before = layer.running_mean.clone()
    assert torch.equal(layer.half().running_mean, before)


def test_wider_casts_and_device_moves_reach_the_running_statistics():
    assert BatchNorm1d(3).double().running_mean.dtype == torch.float64
    moved = BatchNorm1d(3).to("meta", torch.float16)
    assert moved.running_mean.device.type == "meta"
    assert moved.running_mean.dtype == torch.float32


@pytest.mark.parametrize("assign", [False, True])
def test_a_half_checkpoint_of_torch_loads_and_stays_float32(assign):
    checkpoint = nn.BatchNorm1d(3).half().state_dict()
    checkpoint["running_mean"] += 1.5
    layer = BatchNorm1d(3)
    layer.load_state_dict(checkpoint, assign=assign)
    assert layer.running_mean.dtype == torch.float32
    assert torch.equal(layer.running_mean, torch.full((3,), 1.5))


def test_peer_torch_half_running_buffers_stall():
    layer = BatchNorm1d(2, momentum=0.001).bfloat16()
    x = torch.full((4, 2), 5.0, dtype=torch.bfloat16) + torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    for _ in range(1000):
        layer(x.bfloat16())
    expected = 5 * (1 - 0.999**1000)
    torch.testing.assert_close(layer.running_mean, torch.full((2,), expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_peer_torch_one_nan_input_poisons_the_running_statistics(bad):
    layer = BatchNorm1d(3, on_nonfinite="skip")
    layer(batches((8, 3), 1)[0])
    before = state_of(layer)
    x = batches((8, 3), 1)[0]
    x[2, 1] = bad
    y = layer(x)
    assert y[:, 1].isnan().any()
    assert y[:, [0, 2]].isfinite().all()
    assert_state(layer, before)
    layer(batches((8, 3), 1)[0])
    assert int(layer.num_batches_tracked) == 2


def test_skipped_batches_do_not_weigh_in_the_cumulative_average():
    layer = BatchNorm1d(1, momentum=None, on_nonfinite="skip")
    for value in (1.0, float("nan"), 3.0):
        layer(torch.tensor([[value - 1], [value + 1]]))
    torch.testing.assert_close(layer.running_mean, torch.tensor([2.0]))


def test_propagate_does_what_torch_does():
    ours, torchs = BatchNorm1d(2), nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, float("nan")], [2.0, 1.0]])
    for layer in (ours, torchs):
        layer(x)
    for mine, theirs in zip(state_of(ours), state_of(torchs), strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)


@pytest.mark.parametrize("track", [True, False])
def test_raise_names_the_channels_and_changes_nothing(track):
    layer = BatchNorm1d(12, on_nonfinite="raise", track_running_stats=track)
    x = torch.randn(8, 12)
    x[3, 7] = float("nan")
    with pytest.raises(NonFiniteError, match=r"1 of 12 channels .*: 7\."):
        layer(x)
    with pytest.raises(NonFiniteError, match=r"12 of 12 channels .*: 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\."):
        layer(torch.full((8, 12), float("inf")))
    if track:
        assert_state(layer, state_of(nn.BatchNorm1d(12)))


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (torch.randn(1, 3), TensorShapeError),
        (torch.randn(4, 2), TensorShapeError),
        (torch.randn(4), TensorShapeError),
        (torch.randn(4, 3, 2, 2), TensorShapeError),
        (torch.ones(4, 3, dtype=torch.int64), TensorDtypeError),
    ],
)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_peer_torch_rejected_batch_increments_num_batches_tracked(x, error, momentum):
    layer = BatchNorm1d(3, momentum=momentum)
    before = state_of(layer)
    with pytest.raises(error):
        layer(x)
    assert_state(layer, before)


def test_rejections_are_value_errors_as_in_torch():
    with pytest.raises(ValueError, match="4-dimensional"):
        BatchNorm2d(3)(torch.randn(4, 3))


def test_an_empty_batch_changes_nothing():
    layer = BatchNorm2d(3)
    before = state_of(layer)
    assert layer(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert_state(layer, before)


def test_one_value_is_fine_in_eval_mode():
    assert BatchNorm1d(3).eval()(torch.randn(1, 3)).shape == (1, 3)


def test_one_value_without_running_statistics_is_rejected_in_eval_mode():
    with pytest.raises(TensorShapeError):
        BatchNorm1d(3, track_running_stats=False).eval()(torch.randn(1, 3))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"momentum": -3}, ParameterValueError),
        ({"momentum": 1.1}, ParameterValueError),
        ({"momentum": "fast"}, ParameterTypeError),
        ({"eps": 0.0}, ParameterValueError),
        ({"eps": -1e-5}, ParameterValueError),
        ({"eps": float("nan")}, ParameterValueError),
        ({"num_features": 0}, ParameterValueError),
        ({"num_features": 2.0}, ParameterTypeError),
        ({"activation": "relu6"}, UnknownActivationError),
        ({"on_nonfinite": "ignore"}, ParameterValueError),
    ],
)
def test_peer_torch_accepts_any_hyper_parameter(options, error):
    with pytest.raises(error):
        BatchNorm1d(**{"num_features": 3} | options)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_equal_and_independent(duplicate):
    layer = BatchNorm1d(3, activation="tanh", on_nonfinite="skip")
    layer(batches((8, 3), 1)[0])
    twin = duplicate(layer)
    before = state_of(layer)
    x = batches((8, 3), 2)[1]
    twin(x)
    assert_state(layer, before)
    layer(x)
    assert_state(twin, state_of(layer))
    assert repr(twin) == repr(layer)


def test_the_whole_module_survives_torch_save():
    file = io.BytesIO()
    torch.save(BatchNorm2d(3, activation="relu"), file)
    file.seek(0)
    assert torch.load(file, weights_only=False).activation == "relu"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("on_nonfinite", ["propagate", "skip"])
def test_torch_compile_captures_it_whole(training, on_nonfinite):
    eager = BatchNorm2d(3, activation="relu", on_nonfinite=on_nonfinite).train(training)
    compiled = copy.deepcopy(eager)
    run = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    for x in batches((4, 3, 5, 5), 3):
        torch.testing.assert_close(run(x), eager(x), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(state_of(compiled), state_of(eager), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_reset_parameters_resets_everything():
    layer = BatchNorm1d(3, bias=False)
    layer(batches((8, 3), 1)[0])
    nn.init.constant_(layer.weight, 7.0)
    layer.reset_parameters()
    assert_state(layer, state_of(BatchNorm1d(3)))
    assert torch.equal(layer.weight.detach(), torch.ones(3))


def test_freezing_by_isinstance_works():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm2d(4))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = state_of(model[1])
    model(torch.randn(2, 3, 4, 4))
    assert_state(model[1], before)
