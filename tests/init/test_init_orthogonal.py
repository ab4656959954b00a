import math

import pytest
import torch

import evenflow as ef
from evenflow.errors import ParameterValueError, TensorShapeError
from evenflow.init.haar import haar, orthonormal_rows
from evenflow.random import Stream

ROUNDING = {
    torch.float64: 1e-12,
    torch.complex128: 1e-12,
    torch.float32: 1e-5,
    torch.complex64: 1e-5,
    # Each of up to 60 products has two factors rounded by 2^-9 or 2^-12.
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}


def gram(matrix):
    """The smaller of the two Gram matrices, in double precision."""
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    return wide.mH @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.mH


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", [(20, 20), (60, 20), (20, 60), (1, 7), (7, 1), (24, 4, 3, 2), (4, 8, 5)])
def test_rows_or_columns_are_orthonormal(shape, dtype):
    weight = ef.init.orthogonal_(torch.zeros(shape, dtype=dtype), stream=Stream(0, "q"))
    product = gram(weight.flatten(1))
    identity = torch.eye(len(product), dtype=product.dtype)
    torch.testing.assert_close(product, identity, rtol=0, atol=ROUNDING[dtype])


@pytest.mark.parametrize("gain", [0.0, 0.5, math.sqrt(2), -1.0])
def test_the_gain_is_a_factor(gain):
    plain = ef.init.orthogonal_(torch.zeros(6, 4, dtype=torch.float64), stream=Stream(0, "q"))
    scaled = ef.init.orthogonal_(torch.zeros(6, 4, dtype=torch.float64), gain, stream=Stream(0, "q"))
    torch.testing.assert_close(scaled, gain * plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 5), (3, 7), (6, 4)])
@pytest.mark.parametrize("panel", [1, 2, 3, 128])
def test_panels_of_reflections_are_the_product_of_reflections_one_by_one(shape, panel, dtype):
    draws = ef.init.normal_(torch.empty(2, *shape, dtype=dtype), stream=Stream(0, "reflections"))
    wide = draws if shape[0] <= shape[1] else draws.mT
    expected = torch.stack([one_by_one(matrix) for matrix in wide])
    torch.testing.assert_close(orthonormal_rows(wide.clone(), panel), expected, rtol=0, atol=1e-14)


def test_a_large_matrix_in_single_precision_is_that_of_reflections_one_by_one():
    draws = torch.from_numpy(Stream(0, "q").normal((300, 200)))
    expected = one_by_one(draws.double().T).T.float()
    torch.testing.assert_close(haar(300, 200, torch.float32, Stream(0, "q")), expected, rtol=0, atol=2e-6)


def one_by_one(draws):
    """Each row takes what is left of the space to an axis; phases make the triangular factor positive."""
    rows, columns = draws.shape
    product = torch.eye(columns, dtype=draws.dtype)
    phases = []
    for row in range(rows):
        vector = torch.cat([torch.zeros(row, dtype=draws.dtype), draws[row, row:]])
        phase = vector[row] / vector[row].abs()
        vector[row] += phase * vector.norm()
        product = product - 2 * torch.outer(product @ vector.conj(), vector) / vector.norm() ** 2
        phases.append(phase)
    return (product[:, :rows].conj() * -torch.stack(phases)).T


def test_a_draw_of_zeros_still_gives_orthonormal_rows():
    found = orthonormal_rows(torch.zeros(1, 3, 4, dtype=torch.float64))[0]
    torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(12, 3), (12, 4), (12, 7), (12, 2, 3)])
def test_each_block_is_a_matrix_of_its_own(shape, dtype):
    weight = ef.init.orthogonal_(torch.zeros(shape, dtype=dtype), blocks=3, stream=Stream(0, "q"))
    for block in weight.flatten(1).chunk(3):
        product = gram(block)
        torch.testing.assert_close(product, torch.eye(len(product), dtype=product.dtype), rtol=0, atol=1e-5)
    alone = ef.init.orthogonal_(torch.zeros(4, *shape[1:], dtype=dtype), stream=Stream(0, "q"))
    torch.testing.assert_close(weight[:4], alone)


def gate_values(weight):
    """The singular values of each of four packed gates."""
    return torch.linalg.svdvals(torch.stack(weight.detach().chunk(4)))


def test_peer_torch_orthogonal_of_packed_gates_gives_singular_values_from_0_to_0_87():
    layer = torch.nn.LSTM(32, 64)
    torch.manual_seed(0)
    theirs = gate_values(torch.nn.init.orthogonal_(layer.weight_hh_l0))
    assert theirs.min() < 0.1
    assert theirs.max() < 0.9
    ours = gate_values(ef.init.orthogonal_(layer.weight_hh_l0, blocks=4))
    torch.testing.assert_close(ours, torch.ones(4, 64), rtol=0, atol=1e-5)


def test_each_group_of_a_delta_orthogonal_convolution_keeps_lengths():
    weight = ef.init.delta_orthogonal_(torch.zeros(8, 4, 3, 3), blocks=2, stream=Stream(0, "d"))
    signal = ef.init.normal_(torch.zeros(2, 8, 5, 5), stream=Stream(0, "x"))
    output = torch.conv2d(signal, weight, padding=1, groups=2)
    torch.testing.assert_close(torch.linalg.vector_norm(output, dim=1), torch.linalg.vector_norm(signal, dim=1))


@pytest.mark.parametrize("name", ["orthogonal_", "delta_orthogonal_"])
def test_blocks_divide_the_rows(name):
    with pytest.raises(ParameterValueError, match="blocks must divide the 8 rows of the weight; got 3"):
        getattr(ef.init, name)(torch.zeros(8, 2, 3), blocks=3)


@pytest.mark.parametrize("shape", [(4,), ()])
def test_a_vector_cannot_be_orthogonal(shape):
    with pytest.raises(TensorShapeError, match="orthogonal_ needs a tensor of at least 2 dimensions"):
        ef.init.orthogonal_(torch.zeros(shape))


@pytest.mark.parametrize("name", ["orthogonal_", "delta_orthogonal_"])
@pytest.mark.parametrize("gain", [math.nan, math.inf])
def test_the_gain_is_finite(name, gain):
    with pytest.raises(ParameterValueError, match="gain"):
        getattr(ef.init, name)(torch.zeros(4, 4, 3), gain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("kernel", [(3,), (3, 5), (3, 3, 3), (1, 1)])
def test_a_delta_orthogonal_convolution_keeps_every_length(kernel, dtype):
    weight = ef.init.delta_orthogonal_(torch.zeros(8, 5, *kernel, dtype=dtype), 1.5, stream=Stream(0, "d"))
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(kernel) - 1]
    signal = ef.init.normal_(torch.zeros(2, 5, *(7,) * len(kernel), dtype=dtype), stream=Stream(0, "x"))
    output = convolve(signal, weight, padding=[size // 2 for size in kernel])
    lengths = torch.linalg.vector_norm(signal, dim=1)
    torch.testing.assert_close(torch.linalg.vector_norm(output, dim=1), 1.5 * lengths, rtol=1e-12, atol=0)
    assert weight.count_nonzero() == 8 * 5


def test_an_even_kernel_has_its_middle_where_dirac_has_it():
    weight = ef.init.delta_orthogonal_(torch.zeros(4, 4, 4, 2))
    places = weight.abs().sum((0, 1)).nonzero().tolist()
    assert places == ef.init.dirac_(torch.zeros(4, 4, 4, 2)).abs().sum((0, 1)).nonzero().tolist() == [[2, 1]]


def test_fewer_outputs_than_inputs_cannot_keep_lengths():
    with pytest.raises(TensorShapeError, match="4 outputs and 5 inputs"):
        ef.init.delta_orthogonal_(torch.zeros(4, 5, 3))


@pytest.mark.parametrize("shape", [(5, 5), (2, 2, 2, 2, 2, 2)])
def test_delta_orthogonal_is_for_convolutions(shape):
    with pytest.raises(TensorShapeError, match="3 to 5 dimensions"):
        ef.init.delta_orthogonal_(torch.zeros(shape))
