import math
import warnings

import pytest
import torch
from torch import nn

import evenflow as ef
from evenflow.errors import (
    ParameterTypeError,
    ParameterValueError,
    SharedMemoryError,
    TensorDtypeError,
    TensorShapeError,
)
from evenflow.init.tensors import writable

NAN, INF = math.nan, math.inf
FIXED = ["zeros_", "ones_", "constant_", "eye_", "dirac_"]
NEEDED = {"sparse_": {"sparsity": 0.5}, "constant_": {"val": 1.0}}
FUNCTIONS = [name for name in ef.init.__all__ if name.endswith("_")]
RANDOM = [name for name in FUNCTIONS if name not in FIXED]


def call(name, tensor, **arguments):
    return getattr(ef.init, name)(tensor, **NEEDED.get(name, {}) | arguments)


def target(name, dtype=torch.float32):
    shape = (4, 4, 3) if name in {"dirac_", "delta_orthogonal_"} else (4, 4)
    return torch.full(shape, 7, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("name", RANDOM)
def test_integers_take_no_random_draws(name, dtype):
    tensor = target(name, dtype)
    with pytest.raises(TensorDtypeError, match="floating-point"):
        call(name, tensor)
    assert torch.equal(tensor, target(name, dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elements_that_share_memory_are_refused(name):
    shape = target(name).shape
    expanded = torch.full((1, *shape[1:]), 7.0).expand(shape)
    with pytest.raises(SharedMemoryError, match="share memory"):
        call(name, expanded)
    assert (expanded == 7).all()


def compressed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own, of a layout in beta state
        return torch.eye(4).to_sparse_csr()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("make", [lambda: torch.eye(4).to_sparse(), compressed])
def test_elements_that_have_no_place_of_their_own_are_refused(name, make):
    with pytest.raises(TensorDtypeError, match=r"this tensor is torch.*cannot be written one by one"):
        call(name, make())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("thing", [None, [1.0, 2.0], 3.0])
def test_what_is_no_tensor_is_refused(name, thing):
    with pytest.raises(ParameterTypeError, match=r"tensor must be a torch\.Tensor"):
        call(name, thing)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_lazy_parameter_is_refused(name):
    with pytest.raises(TensorShapeError, match="lazy"):
        call(name, nn.LazyLinear(3).weight)


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("uniform_", {"a": NAN}, "a must be"),
        ("uniform_", {"b": INF}, "b must be"),
        ("uniform_", {"a": 1.0, "b": 0.0}, "a must not be above b"),
        ("random_uniform_", {"low": 2.0}, "low must not be above high"),
        ("random_uniform_", {"high": NAN}, "high must be"),
        ("normal_", {"mean": INF}, "mean must be"),
        ("normal_", {"std": -1.0}, "std must be"),
        ("random_normal_", {"std": NAN}, "std must be"),
        ("trunc_normal_", {"std": -1.0}, "std must be"),
        ("trunc_normal_", {"a": NAN}, "a must be"),
        ("trunc_normal_", {"a": 3.0}, "a must not be above b"),
        ("truncated_normal_", {"mean": NAN}, "mean must be"),
        ("truncated_normal_", {"low": 3.0}, "low must not be above high"),
        ("xavier_uniform_", {"gain": -1.0}, "gain must be"),
        ("xavier_normal_", {"gain": NAN}, "gain must be"),
        ("glorot_uniform_", {"gain": INF}, "gain must be"),
        ("glorot_normal_", {"gain": -1.0}, "gain must be"),
        ("kaiming_uniform_", {"a": NAN}, "a must be"),
        ("kaiming_normal_", {"mode": "fan_avg"}, "mode must be"),
        ("he_uniform_", {"slope": INF}, "slope must be"),
        ("he_normal_", {"mode": "in"}, "mode must be"),
        ("variance_scaling_", {"scale": 0.0}, "scale must be"),
        ("variance_scaling_", {"mode": "fan_sum"}, "mode must be"),
        ("variance_scaling_", {"distribution": "gauss"}, "distribution must be"),
    ],
)
def test_a_hyper_parameter_out_of_range_is_refused_and_nothing_written(name, arguments, named):
    tensor = target(name)
    with pytest.raises(ParameterValueError, match=named):
        call(name, tensor, **arguments)
    assert torch.equal(tensor, target(name))


@pytest.mark.parametrize("name", ["kaiming_uniform_", "he_normal_", "variance_scaling_"])
def test_a_mode_is_a_string(name):
    with pytest.raises(ParameterTypeError, match="mode must be"):
        call(name, target(name), mode=1)


@pytest.mark.parametrize("mode", ["FAN_OUT", "Fan_out"])
def test_kaiming_takes_a_mode_in_capitals_as_torch_does(mode):
    stream = ef.random.Stream(0, "w")
    shouted = ef.init.kaiming_normal_(torch.zeros(4, 6), mode=mode, stream=stream)
    assert torch.equal(shouted, ef.init.kaiming_normal_(torch.zeros(4, 6), mode="fan_out", stream=stream))


@pytest.mark.parametrize(
    ("size", "stride", "shared"),
    [
        ((2, 3), (3, 1), False),
        ((2, 3), (1, 2), False),
        ((2, 3), (3, 2), False),  # 0 2 4 3 5 7: strides that interleave without meeting
        ((3, 3), (2, 1), True),
        ((4, 2), (1, 2), True),
        ((5,), (0,), True),
        ((1,), (0,), False),
        ((2, 1, 2), (2, 0, 1), False),
    ],
)
def test_shared_memory_is_seen_and_only_shared_memory(size, stride, shared):
    tensor = torch.zeros(20).as_strided(size, stride)
    if shared:
        with pytest.raises(SharedMemoryError):
            writable(tensor)
    else:
        assert writable(tensor) is tensor
