"""Models under every wrapper of torch get the parameters, and compute the outputs, of the model in one process."""

import pytest
import torch
from ranks import models
from ranks.launch import RankFailedError, _wait

from evenflow import init, initialize_

SIZES = {"even": models.EVEN, "uneven": models.UNEVEN}
EVERYWHERE = ["fsdp", "fsdp-from-meta", "tp", "ddp"]
WAYS = [(world, way) for world in (1, 2, 3, 4) for way in EVERYWHERE]
WAYS += [(4, way) for way in ("hsdp", "fsdp-tp", "fsdp-tp-from-meta")]


def reference(size):
    return models.initialized(models.build(SIZES[size]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("world", "way"), WAYS)
def test_the_parameters_are_those_of_a_single_process(ranks_of, world, way, size):
    whole = dict(reference(size).named_parameters())
    for rank in ranks_of(world):
        values, _ = rank["models"][way, size]
        assert values.keys() == whole.keys()
        assert all(torch.equal(values[name], whole[name]) for name in whole)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("world", "way"), WAYS)
def test_the_outputs_are_those_of_a_single_process(ranks_of, world, way, size):
    wanted = models.outputs(reference(size), SIZES[size])
    for rank in ranks_of(world):
        _, given = rank["models"][way, size]
        if size == "uneven" and "tp" in way:
            assert given is None  # torch's own tensor parallelism computes on equal parts only
        else:
            torch.testing.assert_close(given, wanted)


def test_the_model_from_the_meta_device_is_the_one_built_as_usual():
    with torch.device("meta"):
        model = models.build(models.UNEVEN)
    model.to_empty(device="cpu")
    models.initialized(model)
    for name, parameter in reference("uneven").named_parameters():
        assert torch.equal(model.get_parameter(name), parameter)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_equal_seeds_give_equal_values_also_where_a_process_holds_nothing(ranks_of, world):
    model = models.build((5, 2, 7))
    torch.manual_seed(3)
    for parameter in model.parameters():
        init.normal_(parameter)
    for rank in ranks_of(world):
        assert all(torch.equal(rank["seeds"][name], value) for name, value in model.named_parameters())


@pytest.mark.parametrize(("model", "rule"), [("recurrent", "segments"), ("saturating", "balance")])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_a_plan_reaches_every_element_of_a_sharded_model(ranks_of, world, model, rule):
    alone = models.PLANNED[model]()
    initialize_(alone, seed=5)
    whole = dict(alone.named_parameters())
    for rank in ranks_of(world):
        written, rules, values = rank["planned"][model]
        assert rule in rules
        assert written == len(whole)
        assert all(torch.equal(values[name], whole[name]) for name in whole)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_older_wrapper_is_refused_unless_it_gives_the_parameters_back(ranks_of, world):
    whole = dict(reference("uneven").named_parameters())
    for rank in ranks_of(world):
        refusal, values = rank["flat"]
        assert refusal.startswith("ShardingError: a FlatParameter")
        assert "summon_full_params" in refusal
        assert all(torch.equal(values[name], whole[name]) for name in whole)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        ("partial", "ShardingError: a tensor with the placement P(sum)"),
        ("heap", "ShardingError: [Shard(dim=0)] of shape"),
        ("meta", "MetaTensorError: this tensor of shape"),
        ("overlapping", "SharedMemoryError: elements of this tensor"),
    ],
)
def test_what_has_no_elements_of_its_own_is_refused_by_every_initialiser(ranks_of, world, tensor, error):
    for rank in ranks_of(world):
        refusals = [text for name, text in rank["refusals"].items() if name.startswith(f"{tensor} ")]
        assert len(refusals) == 5
        assert all(text.startswith(error) for text in refusals)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_autograd_hears_of_every_write(ranks_of, world):
    for rank in ranks_of(world):
        assert all(count > 0 for count in rank["versions"].values())


class Ended:
    def __init__(self, code):
        self.code = code

    def wait(self, seconds):
        return self.code


def test_the_output_of_a_failed_rank_is_shown(tmp_path):
    (tmp_path / "0.log").write_text("fine")
    (tmp_path / "1.log").write_text("Traceback: this went wrong")
    with pytest.raises(RankFailedError, match=r"rank 1 ended with 3:\nTraceback: this went wrong"):
        _wait([Ended(0), Ended(3)], tmp_path)
