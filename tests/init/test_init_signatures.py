"""Whatever is written against `torch.nn.init` can be written against `evenflow.init`."""

import inspect

import pytest
import torch

import evenflow as ef

DROP_IN = [name for name in torch.nn.init.__all__ if name.endswith("_") or name == "calculate_gain"]
SOURCES = {"generator", "stream"}
BY_FANS = {name for name in ef.init.__all__ if name.split("_")[0] in {"glorot", "he", "lecun", "xavier", "kaiming"}}


@pytest.mark.parametrize("name", DROP_IN)
def test_the_parameters_of_torch_come_first_in_its_order_and_with_its_defaults(name):
    theirs = inspect.signature(getattr(torch.nn.init, name)).parameters.values()
    ours = list(inspect.signature(getattr(ef.init, name)).parameters.values())
    assert [(p.name, p.default, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.default, p.kind) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY and p.default in (None, 1) for p in ours[len(theirs) :])


@pytest.mark.parametrize("name", sorted(ef.init.__all__))
def test_random_functions_take_a_generator_or_a_stream_and_families_take_fans(name):
    names = set(inspect.signature(getattr(ef.init, name)).parameters)
    without_draws = {"zeros_", "ones_", "constant_", "eye_", "dirac_", "calculate_gain"}
    assert names & SOURCES == (set() if name in without_draws else SOURCES)
    assert ("fans" in names) == (name in BY_FANS | {"variance_scaling_"})


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("random_uniform_", {"low": 0.0, "high": 1.0}),
        ("random_normal_", {"mean": 0.0, "std": 1.0}),
        ("glorot_uniform_", {"gain": 1.0}),
        ("glorot_normal_", {"gain": 1.0}),
        ("he_uniform_", {"slope": 0.0, "mode": "fan_in"}),
        ("he_normal_", {"slope": 0.0, "mode": "fan_in"}),
        ("lecun_uniform_", {}),
        ("lecun_normal_", {}),
        ("variance_scaling_", {"scale": 1.0, "mode": "fan_in", "distribution": "normal"}),
        ("truncated_normal_", {"mean": 0.0, "std": 1.0, "low": -2.0, "high": 2.0}),
        ("delta_orthogonal_", {"gain": 1.0}),
    ],
)
def test_the_names_of_the_literature_have_their_defaults(name, defaults):
    parameters = inspect.signature(getattr(ef.init, name)).parameters
    positional = {p.name: p.default for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD}
    positional.pop("tensor")
    assert positional == defaults
