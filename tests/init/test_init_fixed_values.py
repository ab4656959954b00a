import math

import pytest
import torch

import evenflow as ef
from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError

EVERY = [
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", EVERY)
def test_zeros_ones_eye_and_dirac_in_every_dtype(dtype):
    assert torch.equal(ef.init.zeros_(torch.ones(2, 3, dtype=dtype)), torch.zeros(2, 3, dtype=dtype))
    assert torch.equal(ef.init.ones_(torch.zeros(2, 3, dtype=dtype)), torch.ones(2, 3, dtype=dtype))
    assert torch.equal(ef.init.eye_(torch.ones(2, 3, dtype=dtype)), torch.eye(2, 3, dtype=dtype))
    assert ef.init.dirac_(torch.ones(2, 3, 3, dtype=dtype)).count_nonzero() == 2


@pytest.mark.parametrize("shape", [(6, 4, 3), (4, 6, 3, 3), (6, 2, 2, 3, 4), (6, 4, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_is_torchs(shape, groups):
    expected = torch.nn.init.dirac_(torch.zeros(shape), groups)
    assert torch.equal(ef.init.dirac_(torch.ones(shape), groups), expected)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (0, 3)])
def test_eye_is_torchs(shape):
    assert torch.equal(ef.init.eye_(torch.ones(shape)), torch.nn.init.eye_(torch.zeros(shape)))


def test_a_dirac_convolution_is_the_identity():
    weight = ef.init.dirac_(torch.empty(6, 3, 5), groups=2)
    signal = torch.arange(6 * 8.0).reshape(1, 6, 8)
    assert torch.equal(torch.conv1d(signal, weight, padding=2, groups=2), signal)


@pytest.mark.parametrize(
    ("dtype", "val"),
    [
        (torch.float32, 0.5),
        (torch.float16, 65504),
        (torch.int8, -128.0),
        (torch.bool, True),
        (torch.complex64, 1 + 2j),
    ],
)
def test_constant_takes_what_the_dtype_can_hold(dtype, val):
    assert set(ef.init.constant_(torch.zeros(3, dtype=dtype), val).tolist()) == {val}


@pytest.mark.parametrize(
    ("dtype", "val"),
    [
        (torch.float32, math.nan),
        (torch.float32, math.inf),
        (torch.complex64, complex(0, math.nan)),
        (torch.float16, 1e5),
        (torch.float32, 1e39),
        (torch.int64, 0.5),
        (torch.int8, 128),
        (torch.uint8, -1),
        (torch.bool, 2),
        (torch.float32, 1j),
        (torch.complex64, 1e39),
    ],
)
def test_constant_refuses_what_the_dtype_cannot_hold(dtype, val):
    target = torch.zeros(3, dtype=dtype)
    with pytest.raises(ParameterValueError, match="val must be"):
        ef.init.constant_(target, val)
    assert not target.any()


@pytest.mark.parametrize("val", ["1", None, torch.zeros(2)])
def test_constant_is_a_number(val):
    with pytest.raises(ParameterTypeError, match="val must be"):
        ef.init.constant_(torch.zeros(3), val)


@pytest.mark.parametrize(
    ("groups", "error"), [(0, ParameterValueError), (4, ParameterValueError), (2.0, ParameterTypeError)]
)
def test_groups_divide_the_output_channels(groups, error):
    with pytest.raises(error, match="groups must"):
        ef.init.dirac_(torch.zeros(6, 3, 3), groups)


@pytest.mark.parametrize(
    ("name", "shape"), [("eye_", (3,)), ("eye_", (3, 3, 3)), ("dirac_", (3, 3)), ("dirac_", (1,) * 6)]
)
def test_shapes_without_an_identity_are_refused(name, shape):
    with pytest.raises(TensorShapeError, match=f"{name} needs a tensor of"):
        getattr(ef.init, name)(torch.zeros(shape))
