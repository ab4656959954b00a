"""What does not change a bit of an orthogonal matrix: threads, modes of torch, other blocks."""

import subprocess
import sys

import pytest
import torch

import evenflow as ef
from evenflow.init.haar import haar, orthonormal_rows
from evenflow.init.serial import at_once, one_thread_each
from evenflow.random import Stream


@pytest.fixture
def threads(monkeypatch):
    """Set the number of threads, which small matrices use too; the one from before comes back."""
    monkeypatch.setattr(sys.modules[haar.__module__], "_WORTH_THREADS", 1)
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def made(shape=(300, 300), dtype=torch.float32, **options):
    target = torch.empty(shape, dtype=dtype, device="cpu")
    return ef.init.orthogonal_(target, stream=Stream(0, "bits"), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("shape", [(17, 40), (130, 100), (257, 300), (300, 300), (1000, 200)])
def test_the_number_of_threads_changes_no_bit(shape, dtype, threads):
    threads(1)
    alone = made(shape, dtype)
    for count in (2, 3, 8):
        threads(count)
        assert torch.equal(made(shape, dtype), alone)
        assert torch.get_num_threads() == count


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(torch.inference_mode, id="inference"),
        pytest.param(lambda: torch.autocast("cpu", torch.bfloat16), id="autocast"),
        pytest.param(lambda: torch.device("meta"), id="default-device"),
        pytest.param(torch.enable_grad, id="grad"),
    ],
)
def test_the_modes_of_torch_change_no_bit(mode, count, threads):
    expected = made()
    threads(count)
    with mode():
        found = made()
    assert torch.equal(found, expected)


@pytest.fixture
def precision():
    """Set the precision of products; the one from before comes back."""
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("level", ["medium", "high"])
def test_less_exact_products_of_matrices_do_not_make_it_less_orthogonal(level, precision):
    expected = made((40, 40), torch.float64).float()
    precision(level)
    assert torch.equal(made((40, 40)), expected)
    assert torch.equal(made((40, 40), torch.complex64), made((40, 40), torch.complex128).to(torch.complex64))
    assert torch.get_float32_matmul_precision() == level


def test_nor_does_the_newer_interface_to_that_precision():
    script = """if True:
        import torch, evenflow as ef
        from evenflow.random import Stream
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        single, double = (
            ef.init.orthogonal_(torch.empty(9, 9, dtype=dtype), stream=Stream(0, "a"))
            for dtype in (torch.float32, torch.float64)
        )
        assert torch.equal(single, double.float())
    """
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("shape", [(3, 150, 200), (3, 7, 7), (3, 4, 9)])
def test_a_block_does_not_depend_on_the_others(shape):
    draws = torch.from_numpy(Stream(0, "draws").normal(shape))
    others = draws.clone()
    others[[0, 2]] = torch.from_numpy(Stream(1, "draws").normal((2, *shape[1:])))
    first, second = orthonormal_rows(draws), orthonormal_rows(others)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_each_block_takes_the_draws_of_its_rows():
    stream = Stream(0, "blocks")
    whole = haar(60, 20, torch.float64, stream, blocks=3)
    for number, block in enumerate(whole.chunk(3)):
        draws = torch.from_numpy(stream.normal((1, 20, 20), start=number * 400)).double()
        torch.testing.assert_close(block, orthonormal_rows(draws)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_in_a_piece_reaches_the_caller_and_the_threads_come_back(count, threads):
    threads(count)

    def divide(number):
        return 1 // number

    with pytest.raises(ZeroDivisionError), one_thread_each() as allowed:
        at_once(divide, [2, 1, 0], allowed)
    assert torch.get_num_threads() == count


def test_pieces_run_in_one_thread_each():
    found = []
    with one_thread_each():
        at_once(lambda number: found.append((number, torch.get_num_threads())), range(20), threads=4)
    assert sorted(found) == [(number, 1) for number in range(20)]


def test_a_forked_process_makes_the_same_numbers():
    script = """if True:
        import os, torch, evenflow as ef
        from evenflow.random import Stream

        def make():
            flat = ef.init.orthogonal_(torch.empty(400, 400), 2.0, stream=Stream(0, "fork"))
            short = ef.init.normal_(torch.empty(2**20, dtype=torch.bfloat16), stream=Stream(0, "fork"))
            return [flat, short, ef.init.delta_orthogonal_(torch.empty(300, 300, 3), stream=Stream(0, "fork"))]

        torch.set_num_threads(2)
        torch.zeros(10**6).mul_(2.0)
        expected = make()
        child = os.fork()
        if child == 0:
            found = make()
            torch.set_num_threads(1)  # torch's comparison would wait for threads that the fork left behind
            os._exit(0 if all(map(torch.equal, found, expected)) else 1)
        assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_small_network_waits_for_no_compiler():
    script = """if True:
        import sys, torch, evenflow as ef
        for size in (1, 16, 64, 256):
            ef.init.orthogonal_(torch.empty(4 * size, size), blocks=4)
        ef.init.delta_orthogonal_(torch.empty(64, 32, 3, 3))
        assert not {"numba", "torch._dynamo"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", script], check=True)
