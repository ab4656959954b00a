"""Gradients that are spread over processes are clipped as those of one process are."""

from functools import cache

import pytest
import torch
from ranks import clipping, models

WAYS = [(world, way) for world in (1, 2, 3, 4) for way in ("fsdp", "fsdp-from-meta", "tp")]
WAYS += [(4, way) for way in ("hsdp", "fsdp-tp", "fsdp-tp-from-meta")]


@cache
def alone(size):
    return clipping.every_case(models.initialized(models.build(clipping.SIZES[size])))


@pytest.mark.parametrize("size", clipping.SIZES)
@pytest.mark.parametrize("case", ["two", "one", "peak", "three", "value", "unit", "zero"])
@pytest.mark.parametrize(("world", "way"), WAYS)
def test_peers_asked_for_distributed_norms_that_agree_with_one_device(ranks_of, world, way, case, size):
    norm, expected = alone(size)[case]
    for rank in ranks_of(world):
        found, gradients = rank["clipping"]["cases"][way, size][case]
        assert found == pytest.approx(norm, rel=1e-12)
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], rtol=2e-7, atol=0)


@pytest.mark.parametrize("size", clipping.SIZES)
@pytest.mark.parametrize("case", ["layer", "units reported"])
@pytest.mark.parametrize(("world", "way"), WAYS)
def test_a_clipper_reports_what_it_would_of_one_process(ranks_of, world, way, case, size):
    report, expected = alone(size)[case]
    for rank in ranks_of(world):
        found, gradients = rank["clipping"]["cases"][way, size][case]
        assert found == pytest.approx(report, rel=1e-12)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], rtol=2e-7, atol=0)


@pytest.mark.parametrize("size", clipping.SIZES)
@pytest.mark.parametrize(("world", "way"), WAYS)
def test_every_rank_names_the_parameter_that_is_not_finite(ranks_of, world, way, size):
    message, _ = alone(size)["named"]
    assert "'2.weight'" in message
    assert "(1 NaN, 1 infinite)" in message
    for rank in ranks_of(world):
        assert rank["clipping"]["cases"][way, size]["named"][0] == message


@pytest.mark.parametrize("way", ["fsdp", "ddp"])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_training_with_an_attached_clipper_is_that_of_one_process(ranks_of, world, way):
    decisions, expected = clipping.trained_alone()
    assert [fired for _, fired in decisions].count(True) >= 1
    for rank in ranks_of(world):
        found, parameters = rank["clipping"]["trained"][way]
        assert [norm for norm, _ in found] == pytest.approx([norm for norm, _ in decisions], rel=1e-5)
        assert [fired for _, fired in found] == [fired for _, fired in decisions]
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("world", [2, 4])
def test_tensors_on_several_meshes_and_on_none_have_one_norm(ranks_of, world):
    flat = torch.cat([tensor.flatten() for tensor in clipping.mixed_tensors().values()]).double()
    expected = [float(flat.norm(order)) for order in (2.0, 1.0, float("inf"))]
    for rank in ranks_of(world):
        assert rank["clipping"]["mixed"] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_units_that_are_themselves_cut_are_clipped_whole(ranks_of, world):
    norm, expected = clipping.transposed_clipped(clipping.transposed())
    for rank in ranks_of(world):
        found, gradients = rank["clipping"]["transposed"]
        assert found == pytest.approx(norm, rel=1e-12)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], rtol=2e-7, atol=0)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_what_does_not_tell_its_place_is_refused(ranks_of, world):
    for rank in ranks_of(world):
        assert rank["clipping"]["groups"].startswith("ShardingError")
        assert "groups of a transposed convolution" in rank["clipping"]["groups"]
        assert all(text.startswith("ShardingError: the parameters of Fully") for text in rank["clipping"]["flat"])
