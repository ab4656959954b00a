"""Where the numbers come from: a stream, a generator, or torch's default generator."""

from functools import reduce
from operator import and_, or_

import pytest
import torch

import evenflow as ef
from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.init.source import as_stream
from evenflow.random import Stream

RANDOM = {
    "uniform_": {},
    "normal_": {},
    "trunc_normal_": {},
    "truncated_normal_": {},
    "random_uniform_": {},
    "random_normal_": {},
    "xavier_uniform_": {},
    "xavier_normal_": {},
    "kaiming_uniform_": {},
    "kaiming_normal_": {},
    "glorot_uniform_": {},
    "glorot_normal_": {},
    "he_uniform_": {},
    "he_normal_": {},
    "lecun_uniform_": {},
    "lecun_normal_": {},
    "variance_scaling_": {},
    "orthogonal_": {},
    "sparse_": {"sparsity": 0.5},
    "delta_orthogonal_": {},
}


def draw(name, **source):
    shape = (6, 4, 3) if name == "delta_orthogonal_" else (6, 4)
    return getattr(ef.init, name)(torch.zeros(shape), **RANDOM[name], **source)


@pytest.mark.parametrize("name", RANDOM)
def test_manual_seed_decides(name):
    torch.manual_seed(3)
    first, second = draw(name), draw(name)
    torch.manual_seed(3)
    assert torch.equal(first, draw(name))
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    assert not torch.equal(first, draw(name))


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_decides_and_leaves_the_default_one_alone(name):
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = draw(name, generator=generator), draw(name, generator=generator)
    assert torch.equal(first, draw(name, generator=torch.Generator().manual_seed(3)))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RANDOM)
def test_a_stream_decides_and_no_generator_moves(name):
    before = torch.get_rng_state()
    first = draw(name, stream=Stream(0, "a"))
    assert torch.equal(first, draw(name, stream=Stream(0, "a")))
    assert not torch.equal(first, draw(name, stream=Stream(0, "b")))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RANDOM)
def test_two_sources_are_one_too_many(name):
    with pytest.raises(ParameterValueError, match="generator and stream"):
        draw(name, generator=torch.Generator(), stream=Stream(0, "a"))


@pytest.mark.parametrize("name", RANDOM)
def test_a_source_of_another_type_is_refused(name):
    with pytest.raises(ParameterTypeError, match="generator must be"):
        draw(name, generator=0)
    with pytest.raises(ParameterTypeError, match="stream must be"):
        draw(name, stream=0)


def test_the_draws_are_those_of_the_stream():
    stream = Stream(0, "a")
    target = ef.init.normal_(torch.zeros(6, 4), 0.5, 2.0, stream=stream)
    assert torch.equal(target, torch.from_numpy(stream.normal((6, 4), 0.5, 2.0)))
    target = ef.init.uniform_(torch.zeros(6, 4), -1.0, 2.0, stream=stream)
    assert torch.equal(target, torch.from_numpy(stream.uniform((6, 4), -1.0, 2.0)))
    target = ef.init.trunc_normal_(torch.zeros(6, 4), 0.0, 1.0, -0.5, 4.0, stream=stream)
    assert torch.equal(target, torch.from_numpy(stream.truncated_normal((6, 4), low=-0.5, high=4.0)))


def test_a_default_device_does_not_reach_the_generator():
    torch.manual_seed(0)
    expected = draw("orthogonal_")
    target = torch.zeros(6, 4)
    torch.manual_seed(0)
    with torch.device("meta"):
        ef.init.orthogonal_(target)
        ef.init.sparse_(target.clone(), 0.5)
        ef.init.trunc_normal_(target.clone(), a=0.1)
    assert torch.equal(target, expected)


def test_keys_use_all_64_bits():
    generator = torch.Generator().manual_seed(0)
    keys = [as_stream(generator, None).key for _ in range(100)]
    # A bit that is free stays the same in 100 keys with odds of 2^-99.
    assert reduce(or_, keys) == 2**64 - 1
    assert reduce(and_, keys) == 0
