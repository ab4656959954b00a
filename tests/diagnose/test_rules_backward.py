"""vanishing-gradient and exploding-gradient, on hand-written records."""

import math
from dataclasses import replace

import pytest

from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules import exploding_gradient, exploding_inside, vanishing_gradient

DEPTH = 10


def only(findings):
    (finding,) = findings
    return finding


def severities(findings):
    return [finding.severity for finding in findings]


def stepped(make, ratio, place=5, **options):
    """A network whose gradient has norm 1 behind layer `place`, and `ratio` at it and before it."""
    return make.chain(
        DEPTH, gradient=[make.gradient(ratio if index <= place else 1.0) for index in range(DEPTH)], **options
    )


class TestVanishingGradient:
    @pytest.mark.parametrize(
        ("threshold", "above", "below"), [(1 / 30, [], ["warning"]), (1e-3, ["warning"], ["error"])]
    )
    def test_severity_changes_at_each_threshold(self, make, threshold, above, below):
        edge = threshold / tolerance(make.chain(DEPTH)[6:])
        assert severities(vanishing_gradient.find(make.network(stepped(make, edge * 1.01)))) == above
        assert severities(vanishing_gradient.find(make.network(stepped(make, edge * 0.99)))) == below

    def test_it_names_the_nearest_to_the_output_first(self, make):
        finding = only(vanishing_gradient.find(make.network(stepped(make, 1e-9))))
        assert (finding.layer, finding.layers[-1], len(finding.layers)) == ("layers.5", "layers.0", 6)

    def test_an_earlier_layer_with_a_gradient_excuses_it(self, make):
        layers = make.changed(stepped(make, 1e-9), 0, gradient=make.gradient(1.0))
        assert not list(vanishing_gradient.find(make.network(layers)))

    def test_a_residual_branch_is_exempt(self, make):
        layers = make.changed(make.chain(DEPTH), 0, gradient=make.gradient(0.0), bypassed=True)
        assert not list(vanishing_gradient.find(make.network(layers)))

    def test_what_a_small_head_takes_away_does_not_count(self, make):
        layers = stepped(make, 0.01, place=DEPTH - 1)
        small = [*layers[:-1], make.head(DEPTH, gain=0.01)]
        assert severities(vanishing_gradient.find(make.network(layers))) == ["warning"]
        assert not list(vanishing_gradient.find(make.network(small)))

    def test_what_an_average_over_positions_takes_away_does_not_count(self, make):
        shape = (128, 16, 32, 32)
        pixels = make.moments(shape=shape)
        averaged = [make.gradient(1 / 32, shape=shape)] * DEPTH
        layers = make.chain(DEPTH, gradient=averaged, kind="Conv2d", output=pixels)
        flat = make.chain(DEPTH, gradient=make.gradient(1e-3))
        assert not list(vanishing_gradient.find(make.network(layers)))
        assert severities(vanishing_gradient.find(make.network(flat))) == ["warning"]

    def test_a_zero_head_is_a_note(self, make):
        layers = make.with_weight(stepped(make, 0.0, place=DEPTH - 1), DEPTH, rms=0.0, distinct_rows=1)
        finding = only(vanishing_gradient.find(make.network(layers)))
        assert (finding.severity, finding.layer) == ("note", "head")

    def test_a_zero_head_that_gets_no_gradient_either_is_no_excuse(self, make):
        layers = make.with_weight(stepped(make, 0.0, place=DEPTH - 1), DEPTH, rms=0.0, grad_norm=0.0)
        finding = only(vanishing_gradient.find(make.network(layers)))
        assert (finding.severity, finding.layer) == ("error", "layers.9")
        assert "no gradient reaches layer 'layers.9' or any layer before it" in finding.explanation

    def test_only_the_first_layer_lost(self, make):
        finding = only(vanishing_gradient.find(make.network(stepped(make, 1e-9, place=0))))
        assert finding.layers == ("layers.0",)
        assert "which hardly learns" in finding.explanation

    def test_layers_without_a_gradient_are_left_out(self, make):
        layers = make.changed(stepped(make, 1e-9), 3, gradient=None)
        assert "layers.3" not in only(vanishing_gradient.find(make.network(layers))).layers

    def test_a_layer_whose_reader_has_no_gradient_is_no_output(self, make):
        layers = make.changed(stepped(make, 1e-9), 3, gradient=None)
        assert only(vanishing_gradient.find(make.network(layers))).layer == "layers.5"

    @pytest.mark.parametrize("lost", [{"gradient": None}, {"gradient": "zero"}, {"gradient": "nan"}])
    def test_no_usable_gradients(self, make, lost):
        values = {None: None, "zero": make.gradient(0.0), "nan": make.gradient(1.0, nonfinite=4)}
        layers = make.chain(DEPTH, gradient=values[lost["gradient"]])
        if lost["gradient"] == "zero":
            layers = make.changed(layers, DEPTH, gradient=make.gradient(0.0))
        assert not list(vanishing_gradient.find(make.network(layers)))

    @pytest.mark.parametrize("depth", [0, 1])
    def test_no_layers_or_one(self, make, depth):
        assert not list(vanishing_gradient.find(make.network([make.head(0)][:depth])))


class TestExplodingGradient:
    @pytest.mark.parametrize(("threshold", "below", "above"), [(30.0, [], ["warning"]), (1e3, ["warning"], ["error"])])
    def test_severity_changes_at_each_threshold(self, make, threshold, below, above):
        # Of the layers with the larger gradient the nearest to the output has the narrowest tolerance.
        edge = threshold * tolerance(make.chain(DEPTH)[6:])
        assert severities(exploding_gradient.find(make.network(stepped(make, edge * 0.99)))) == below
        assert severities(exploding_gradient.find(make.network(stepped(make, edge * 1.01)))) == above

    def test_it_names_the_nearest_and_the_largest(self, make):
        layers = make.changed(stepped(make, 1e9), 2, gradient=make.gradient(1e12))
        finding = only(exploding_gradient.find(make.network(layers)))
        assert (finding.layer, finding.layers[-1]) == ("layers.5", "layers.0")
        assert finding.evidence["largest_ratio"] == pytest.approx(1e12)
        assert "1e+12 times at layer 'layers.2'" in finding.explanation

    def test_growth_by_batch_normalisation_is_allowed_for(self, make):
        # Without any linear layer there is no tolerance: only what ReLU and BatchNorm bring along, 1.21 a layer.
        def norms(growth):
            return [
                make.layer(i, role="norm", kind="BatchNorm1d", fans=None, gradient=make.gradient(growth ** (40 - i)))
                for i in range(41)
            ]

        assert not list(exploding_gradient.find(make.network(norms(1.2))))
        assert severities(exploding_gradient.find(make.network(norms(1.5)))) == ["error"]

    def test_gradients_of_nan_are_left_out(self, make):
        layers = make.changed(stepped(make, 1e9), 3, gradient=make.gradient(1e9, nonfinite=2))
        assert "layers.3" not in only(exploding_gradient.find(make.network(layers))).layers

    @pytest.mark.parametrize("depth", [0, 1])
    def test_no_layers_or_one(self, make, depth):
        assert not list(exploding_gradient.find(make.network([make.head(0)][:depth])))

    def test_no_gradients_at_all(self, make):
        layers = [replace(layer, gradient=None) for layer in make.chain(3)]
        assert not list(exploding_gradient.find(make.network(layers)))


class TestExplodingInside:
    STEPS, SIZE = 25, 64

    def recurrent(self, make, growth, **options):
        """A recurrent layer whose weights get `growth` times the gradient that can come from outside."""
        shape = (make.SAMPLES, self.STEPS, self.SIZE)
        signal = make.moments(1.0, shape=shape)
        arrived = make.gradient(0.01, shape=shape)
        bound = make.SAMPLES * arrived.norm * math.sqrt(self.SIZE)
        state = make.weight("rnn.weight_hh_l0", grad_norm=growth * bound)
        fields = {
            "name": "rnn", "kind": "RNN", "role": "opaque", "activation": None, "input": signal, "output": signal,
            "gradient": arrived, "parameters": (state,),
        }  # fmt: skip
        return make.network([make.layer(0, **{**fields, **options}), make.head(1)])

    @pytest.mark.parametrize(
        ("growth", "expected"), [(29, []), (31, ["warning"]), (990, ["warning"]), (1010, ["error"])]
    )
    def test_severity_changes_at_each_threshold(self, make, growth, expected):
        assert severities(exploding_inside.find(self.recurrent(make, growth))) == expected

    def test_many_steps_that_agree_are_no_growth(self, make, monkeypatch):
        monkeypatch.setattr(self.__class__, "STEPS", 10_000)
        assert severities(exploding_inside.find(self.recurrent(make, 299))) == []
        assert severities(exploding_inside.find(self.recurrent(make, 301))) == ["warning"]

    def test_linear_layers_are_seen_from_outside(self, make):
        assert not list(exploding_inside.find(self.recurrent(make, 1e6, role="weight")))

    @pytest.mark.parametrize("unknown", [{"gradient": None}, {"parameters": ()}])
    def test_unknown_gradients_say_nothing(self, make, unknown):
        assert not list(exploding_inside.find(self.recurrent(make, 1e6, **unknown)))
