"""The claims of papers: what they measure on known cases, and what they conclude from made-up results."""

import math

import numpy as np
import pytest
import torch

from evenflow.data import Split
from evenflow.lab import Budget, Results, Trial
from evenflow.lab.catalogue import by_id
from evenflow.lab.claims import p01_depth_scales as p01
from evenflow.lab.claims import p02_deep_linear_networks as p02
from evenflow.lab.claims import p03_small_weights_in_vgg as p03
from evenflow.lab.claims import p04_deep_convolutional_networks as p04
from evenflow.lab.claims import p05_how_bn_helps as p05
from evenflow.lab.execute import Job, execute
from evenflow.lab.trial import Outcome


@pytest.fixture
def made_up():
    """Judges a claim on numbers that a function gives for every trial, and draws its figure."""

    def judge(identifier, numbers, curves=None):
        claim = by_id()[identifier].load()
        outcomes = [
            Outcome(trial, "done", numbers(trial, np.random.default_rng(trial.seed)), curves(trial) if curves else {})
            for trial in claim.design(Budget("quick"))
        ]
        results = Results(outcomes)
        figure = claim.figure(results)
        assert all(panel.series and panel.series[0].x for panel in figure.panels)
        return claim.judged(results)

    return judge


def test_claims_of_the_notes_come_before_those_of_papers():
    letters = [identifier[0] for identifier in by_id()]
    assert letters == sorted(letters, reverse=True)
    assert {"T1", "P1"} <= set(by_id())


@pytest.mark.parametrize(
    ("factor", "reach", "word"), [(1.0, 6.0, "supported"), (2.0, 20.0, "refuted"), (1.0, 20.0, "depends")]
)
def test_p1_compares_depth_scales_with_theory(made_up, factor, reach, word):
    def numbers(trial, random):
        if trial["what"] == "training":
            return {"steps": 50.0 if trial["scales"] < reach else math.inf, "final_loss": 1.0}
        rate = (
            factor
            * (1 + 0.01 * random.standard_normal())
            / p01.fixed_point("tanh", trial["variance"], 0.05).depth_scale
        )
        growth = 0.2 * (trial["variance"] - (1.761 if factor == 1 else 1.95)) + 1e-4 * random.standard_normal()
        # Near the critical line a twice as fast rate is still within the tolerance.
        rate += 0.05 * (factor > 1)
        return {"rate_per_layer": rate, "log_growth": growth, "growth": math.exp(growth)}

    verdict = made_up("P1", numbers, lambda trial: {"layer": [0.0, 1.0], "gap": [1.0, 0.5]})
    assert verdict.word == word, verdict


def test_the_decay_of_an_exponential_is_its_rate():
    assert p01.decay([3 * math.exp(-0.1 * layer) for layer in range(40)]) == pytest.approx(0.1)


def test_the_gap_of_two_groups_is_the_difference_of_their_correlations():
    alike, apart = torch.ones(5, 8), torch.eye(5, 8)
    assert p01.gap(torch.cat([apart, alike])) == pytest.approx(1.0)


def test_gradients_grow_as_the_weights_make_them():
    layers = [(math.sqrt(1.5) * torch.eye(8), torch.ones(4, 8)) for _ in range(10)]
    assert p01.gradient_growth(layers, torch.Generator()) == pytest.approx(math.log(1.5), abs=1e-6)


def test_random_networks_settle_at_the_rate_of_theory():
    trial = Trial({"what": "signal", "variance": 1.0, "rate": 0.0, "seed": 900_000})
    source = by_id()["P1"]
    (found,) = execute(Job(source, (trial,), source.load().code))
    assert found.metrics["rate_per_layer"] == pytest.approx(1 / 3.63, rel=0.3)
    assert found.metrics["growth"] == pytest.approx(0.759, rel=0.1)


@pytest.mark.parametrize(("growth", "word"), [(1.0, "refuted"), (math.inf, "supported")])
def test_p2_compares_steps_over_depth(made_up, growth, word):
    def numbers(trial, random):
        # Refuted where it is the orthogonal ones that slow down.
        slow = (trial["scheme"] == "gaussian") == (growth > 1)
        steps = 20 + (100 * (trial["depth"] == 100) if slow else 0) + random.integers(3)
        return {"steps": float(steps), "final_loss": 1.0}

    verdict = made_up("P2", numbers, lambda trial: {"step": [1.0, 2.0], "loss": [2.0, 1.0]})
    assert verdict.word == word, verdict


def test_the_product_of_a_deep_linear_network_is_orthogonal_or_loses_its_rank():
    spreads = {}
    for scheme in p02.SCHEMES:
        model = p02._network(Trial({"depth": 100, "scheme": scheme, "width": 32, "seed": 900_000}), 64, 10)
        product = torch.eye(64)
        for name, weight in model.named_parameters():
            product = weight @ product if name.endswith("weight") else product
        values = torch.linalg.svdvals(product.detach())
        spreads[scheme] = float(values[0] / values[4])
    assert spreads["orthogonal"] == pytest.approx(1, rel=1e-3)
    assert spreads["gaussian"] > 100


@pytest.mark.parametrize(("small", "he", "word"), [(-4.23, 0.0, "supported"), (-4.8, 0.5, "refuted")])
def test_p3_compares_the_shrinking_with_the_formula(made_up, small, he, word):
    def numbers(trial, random):
        middle = small if trial["weights"] == "small" else he
        return {"shrinking": middle + 0.02 * random.standard_normal()}

    numbered = [float(i) for i in range(1, 11)]
    verdict = made_up("P3", numbers, lambda trial: {"convolution": numbered, "share": p03.predicted("he")})
    assert verdict.word == word, verdict


def test_the_formula_for_vgg_is_the_one_of_the_paper():
    assert 1 / p03.predicted("small")[0] == pytest.approx(5.9 * 4.2**2 * 2.9**2 * 2.1**4, rel=0.03)


def test_every_pixel_sees_as_many_others():
    weight = torch.ones(1, 1, 3, 3)
    (found,) = p03.layers(torch.ones(1, 1, 8, 8), [weight])
    assert (found == 9).all()


def test_gradients_of_vgg_shrink_as_the_paper_says():
    trial = Trial({"weights": "small", "samples": 1, "data": "digits", "seed": 900_000})
    assert p03.measure(trial).metrics["shrinking"] == pytest.approx(-4.23, abs=0.15)


def test_images_of_one_class_have_a_gradient_too(monkeypatch):
    images = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.tensor([0, 0, 0, 9]), images, torch.zeros(4, dtype=torch.long))
    monkeypatch.setattr(p03, "load_split", lambda name: split)
    monkeypatch.setattr(p03, "CHANNELS", (2, 4, 4))
    for seed in range(6):
        trial = Trial({"weights": "small", "samples": 1, "data": "digits", "seed": seed})
        assert math.isfinite(p03.measure(trial).metrics["shrinking"])


@pytest.mark.parametrize(
    ("loss", "slower", "word"), [(0.7, 2.5, "supported"), (2.2, 1.1, "refuted"), (0.7, 1.1, "depends")]
)
def test_p4_compares_gaussian_weights_with_delta_orthogonal_ones(made_up, loss, slower, word):
    def numbers(trial, random):
        jitter = 1 + 0.02 * random.standard_normal()
        steps = 40 * jitter * (slower if trial["scheme"] == "gaussian" else 1)
        return {"steps": steps, "final_loss": loss * jitter, "accuracy": 0.5}

    verdict = made_up("P4", numbers, lambda trial: {"step": [1.0, 2.0], "loss": [2.0, 1.0]})
    assert verdict.word == word, verdict


def test_a_critical_delta_orthogonal_network_keeps_gradients_that_a_gaussian_one_scatters():
    sizes = {}
    for scheme in p04.SCHEMES:
        config = {"scheme": scheme, "depth": 50, "channels": 8, "side": 4, "seed": 900_000}
        model = p04.network(Trial(config), 10)
        images = 0.1 * torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        hidden = model[:2](images).detach().requires_grad_()
        rows = torch.stack(
            [
                torch.autograd.grad(model[2:100](hidden)[:, c, 1, 1].sum(), hidden, retain_graph=True)[0].flatten()
                for c in range(8)
            ]
        )
        values = torch.linalg.svdvals(rows)
        sizes[scheme] = float(values[-1] / values[0])
    assert sizes["delta_orthogonal"] > 0.3
    assert sizes["gaussian"] < 0.05


def test_p4_trains_on_images_of_its_size():
    trials = [
        Trial(
            {
                "scheme": "gaussian",
                "depth": 3,
                "channels": 4,
                "side": 4,
                "steps": 2,
                "rate": 0.01,
                "data": data,
                "seed": 900_000,
            }
        )
        for data in ("digits", "mnist")
    ]
    for trial in trials:
        (found,) = p04.measure_together([trial])
        assert len(found.curves["loss"]) == 2


@pytest.mark.parametrize(
    ("smoother", "aligned", "slower", "word"),
    [(0.5, -0.1, 1.1, "supported"), (2.0, 0.1, 2.0, "refuted"), (0.5, 0.1, 1.1, "depends")],
)
def test_p5_compares_with_and_without_batch_normalisation(made_up, smoother, aligned, slower, word):
    def numbers(trial, random):
        jitter, bn = 1 + 0.02 * random.standard_normal(3), trial["variant"] == "bn"
        return {
            "loss_range": (smoother if bn else 1.0) * jitter[0],
            "gradient_range": (smoother if bn else 1.0) * jitter[1],
            "cosine": 0.5 + (aligned if bn else 0.0) + 0.01 * jitter[2],
            "moves": {"plain": 1.0, "bn": 0.1, "noisy": 3 - slower}[trial["variant"]] * (1 + 0.1 * (jitter[0] - 1)),
            "steps": (30 * slower if trial["variant"] == "noisy" else 30.0) * jitter[1],
            "final_loss": 1.0,
        }

    two = {"step": [1.0, 2.0], "loss": [2.0, 1.0], "looked": [1.0, 2.0], "loss_range": [1.0, 1.0], "cosine": [0.5, 0.5]}
    verdict = made_up("P5", numbers, lambda trial: two)
    assert verdict.word == ("depends" if word == "refuted" else word), verdict
    if word == "refuted":
        assert {check.word for check in verdict.checks if check.name != "noise_moves"} == {"refuted"}


def test_noise_moves_means_and_variances_from_step_to_step():
    torch.manual_seed(0)
    layer, images = p05.NoisyBatchNorm(8), torch.randn(256, 8, 4, 4)
    first, second = layer(images), layer(images)
    assert (first.mean((0, 2, 3)) - second.mean((0, 2, 3))).abs().mean() > 0.1
    assert 1 < first.std((0, 2, 3)).mean() < 1.4
    layer.eval()
    assert torch.equal(layer(images), layer(images))


def test_a_trial_of_p5_looks_along_the_gradient_and_at_the_shift_below():
    config = {"network": "vgg", "variant": "bn", "steps": 4, "points": 2, "data": "digits", "seed": 900_000}
    found = p05.measure(Trial(config))
    assert found.curves["looked"] == [0.0, 2.0]
    assert len(found.curves["loss"]) == 4
    assert found.metrics["loss_range"] > 0
    assert -1 <= found.metrics["cosine"] <= 1
