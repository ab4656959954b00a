import math

import pytest
import torch
from scipy import stats

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


@pytest.fixture
def one_thread():
    """A thousand tiny factorisations: waking a second thread for each takes longer than all of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def many(dtype, count=1000, size=3):
    return torch.stack([haar(size, size, dtype, Stream(seed, "haar")) for seed in range(count)])


def test_the_matrices_are_uniform_over_the_orthogonal_group(one_thread):
    matrices = many(torch.float64)
    # Haar on O(3): every entry is a coordinate of a point on the sphere, uniform on [-1, 1] (Archimedes).
    for row in range(3):
        for column in range(3):
            entries = matrices[:, row, column].numpy()
            assert stats.kstest(entries, "uniform", (-1, 2)).statistic < 2.7 / math.sqrt(len(entries))
    # Half of them are rotations: 5 sigma of a fair coin.
    assert abs((torch.linalg.det(matrices) > 0).double().mean() - 0.5) < 2.5 / math.sqrt(len(matrices))


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 5), (3, 7), (6, 4)])
@pytest.mark.parametrize("panel", [1, 2, 3, 128])
def test_panels_of_reflections_are_the_product_of_reflections_one_by_one(shape, panel):
    draws = torch.from_numpy(Stream(0, "reflections").normal((2, *shape))).double()
    wide = draws if shape[0] <= shape[1] else draws.mT
    expected = torch.stack([one_by_one(matrix) for matrix in wide])
    torch.testing.assert_close(orthonormal_rows(wide, panel), expected, rtol=0, atol=1e-14)


def one_by_one(draws):
    """Each row takes what is left of the space to an axis; signs make the triangular factor positive."""
    rows, columns = draws.shape
    product = torch.eye(columns, dtype=draws.dtype)
    signs = []
    for row in range(rows):
        vector = torch.cat([torch.zeros(row, dtype=draws.dtype), draws[row, row:]])
        sign = -1.0 if vector[row] < 0 else 1.0
        vector[row] += sign * vector.norm()
        product = product - 2 * torch.outer(product @ vector, vector) / vector.dot(vector)
        signs.append(-sign)
    return (product[:, :rows] * torch.tensor(signs, dtype=draws.dtype)).T


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


def test_each_group_of_a_delta_orthogonal_convolution_keeps_lengths():
    weight = ef.init.delta_orthogonal_(torch.zeros(8, 4, 3, 3), blocks=2, stream=Stream(0, "d"))
    signal = ef.init.normal_(torch.zeros(2, 8, 5, 5), stream=Stream(0, "x"))
    output = torch.conv2d(signal, weight, padding=1, groups=2)
    torch.testing.assert_close(torch.linalg.vector_norm(output, dim=1), torch.linalg.vector_norm(signal, dim=1))


@pytest.mark.parametrize("name", ["orthogonal_", "delta_orthogonal_"])
def test_blocks_divide_the_rows(name):
    with pytest.raises(ParameterValueError, match="blocks must divide the 8 rows of the weight; got 3"):
        getattr(ef.init, name)(torch.zeros(8, 2, 3), blocks=3)


def test_the_threads_do_not_change_a_bit(one_thread):
    alone = haar(300, 200, torch.float32, Stream(0, "threads"))
    torch.set_num_threads(2)
    assert torch.equal(haar(300, 200, torch.float32, Stream(0, "threads")), alone)


def test_without_the_signs_of_r_they_would_not_be_uniform(one_thread):
    draws = torch.stack([torch.from_numpy(Stream(seed, "haar").normal((3, 3))) for seed in range(1000)])
    entries = torch.linalg.qr(draws)[0][:, 0, 0].numpy()
    assert stats.kstest(entries, "uniform", (-1, 2)).statistic > 0.2


def test_complex_matrices_are_uniform_over_the_unitary_group(one_thread):
    matrices = many(torch.complex128)
    phases = torch.angle(matrices).reshape(len(matrices), -1).numpy()
    for column in range(9):
        assert stats.kstest(phases[:, column], "uniform", (-math.pi, 2 * math.pi)).statistic < 2.7 / math.sqrt(1000)
    # The squared modulus of an entry is Beta(1, 2): of one coordinate among three complex ones.
    squares = matrices[:, 0, 0].abs().square().numpy()
    assert stats.kstest(squares, "beta", (1, 2)).statistic < 2.7 / math.sqrt(1000)


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
