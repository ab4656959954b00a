"""saturated, dead, vanishing-signal and exploding-signal, on hand-written records."""

import math

import pytest

from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules import dead, exploding_signal, saturated, vanishing_signal
from evenflow.probe.records import InputRecord

DEPTH = 10


def only(findings):
    (finding,) = findings
    return finding


def severities(findings):
    return [finding.severity for finding in findings]


def stepped(make, ratio, place=5, activation="relu"):
    """A network whose signal has size 1 before layer `place` and `ratio` from there on."""
    signals = [make.moments(1.0 if index < place else ratio) for index in range(DEPTH)]
    layers = make.chain(DEPTH, signal=signals, activation=activation)
    return make.changed(layers, DEPTH, input=signals[-1], output=signals[-1])


class TestTolerance:
    def test_it_grows_with_depth_and_shrinks_with_width(self, make):
        assert tolerance([]) == 1.0
        assert 1 < tolerance(make.chain(10)) < tolerance(make.chain(20))
        wide = make.chain(10, fans=make.Fans(512, 512))
        assert tolerance(wide) < tolerance(make.chain(10))

    def test_only_linear_layers_fluctuate(self, make):
        assert tolerance([make.layer(0, role="norm"), make.layer(1, role="opaque")]) == 1.0


class TestVanishingSignal:
    @pytest.mark.parametrize(
        ("threshold", "above", "below"), [(1 / 30, [], ["warning"]), (1e-3, ["warning"], ["error"])]
    )
    def test_severity_changes_at_each_threshold(self, make, threshold, above, below):
        # The last layer in the list is the first that may be called lost: its tolerance is the widest.
        edge = threshold / tolerance(make.chain(DEPTH)[:DEPTH])
        assert severities(vanishing_signal.find(make.network(stepped(make, edge * 1.01, DEPTH - 1)))) == above
        assert severities(vanishing_signal.find(make.network(stepped(make, edge * 0.99, DEPTH - 1)))) == below

    def test_it_names_the_first_layer_that_never_recovers(self, make):
        finding = only(vanishing_signal.find(make.network(stepped(make, 1e-6))))
        assert (finding.layer, finding.layers[-1], len(finding.layers)) == ("layers.5", "layers.9", 5)
        assert finding.evidence["ratio"] == pytest.approx(1e-6)

    def test_a_later_recovery_excuses_it(self, make):
        layers = make.changed(stepped(make, 1e-6), 9, output=make.moments(1.0), activation=None)
        assert not list(vanishing_signal.find(make.network(layers)))

    def test_what_arrives_at_the_head_by_another_path_excuses_it(self, make):
        layers = make.changed(stepped(make, 0.0), DEPTH, input=make.moments(1.0))
        assert not list(vanishing_signal.find(make.network(layers)))

    def test_a_small_head_is_exempt(self, make):
        layers = make.changed(make.chain(DEPTH), DEPTH, output=make.moments(1e-9))
        assert not list(vanishing_signal.find(make.network(layers)))

    def test_bias_does_not_hide_a_dead_signal(self, make):
        constant = make.moments(1.0, spread=1e-6)
        layers = make.chain(DEPTH, signal=[make.moments()] * 5 + [constant] * 5)
        layers = make.changed(layers, DEPTH, input=constant)
        assert severities(vanishing_signal.find(make.network(layers))) == ["error"]

    def test_large_inputs_through_bounded_activations_are_not_lost(self, make):
        inputs = (InputRecord("0", make.moments(1e4)),)
        bounded = make.network(make.chain(DEPTH, activation="tanh"), inputs=inputs)
        unbounded = make.network(make.chain(DEPTH), inputs=inputs)
        assert not list(vanishing_signal.find(bounded))
        assert severities(vanishing_signal.find(unbounded)) == ["error"]

    def test_indices_start_from_the_first_layer(self, make):
        layers = stepped(make, 1e-6)
        assert severities(vanishing_signal.find(make.network(layers, inputs=()))) == ["error"]

    @pytest.mark.parametrize("depth", [0, 1])
    def test_no_layers_or_one(self, make, depth):
        layers = [make.head(0)][:depth]
        assert not list(vanishing_signal.find(make.network(layers)))

    def test_nan_anywhere_is_another_rules_business(self, make):
        layers = make.changed(stepped(make, 1e-6), 2, output=make.moments(1.0, nonfinite=1), activation=None)
        assert not list(vanishing_signal.find(make.network(layers)))

    def test_without_a_spread_the_root_mean_square_counts(self, make):
        one = [make.moments(1e-6, spread=None, shape=(1, 64)) for _ in range(DEPTH)]
        layers = make.changed(make.chain(DEPTH, signal=one), DEPTH, input=one[0])
        assert severities(vanishing_signal.find(make.network(layers))) == ["error"]

    def test_inputs_that_do_not_vary_say_nothing(self, make):
        inputs = (InputRecord("0", make.moments(1.0, spread=0.0)),)
        assert not list(vanishing_signal.find(make.network(stepped(make, 1e-6), inputs=inputs)))

    def test_sigmoid_is_told_to_normalise(self, make):
        finding = only(vanishing_signal.find(make.network(stepped(make, 1e-6, activation="sigmoid"))))
        assert "BatchNorm" in finding.remedy


class TestExplodingSignal:
    @pytest.mark.parametrize(("threshold", "below", "above"), [(30.0, [], ["warning"]), (1e3, ["warning"], ["error"])])
    def test_severity_changes_at_each_threshold(self, make, threshold, below, above):
        edge = threshold * tolerance(make.chain(DEPTH)[:6])
        assert severities(exploding_signal.find(make.network(stepped(make, edge * 0.99)))) == below
        assert severities(exploding_signal.find(make.network(stepped(make, edge * 1.01)))) == above

    def test_it_names_the_first_layer_from_which_it_lasts(self, make):
        finding = only(exploding_signal.find(make.network(stepped(make, 1e9))))
        assert (finding.layer, finding.layers[-1]) == ("layers.5", "head")

    def test_a_normalisation_takes_the_growth_back(self, make):
        layers = make.changed(stepped(make, 1e9), 9, role="norm", output=make.moments(), activation=None)
        layers = make.changed(layers, DEPTH, output=make.moments())
        assert not list(exploding_signal.find(make.network(layers)))

    def test_a_zero_head_does_not_hide_it(self, make):
        layers = make.changed(stepped(make, 1e9), DEPTH, output=make.moments(0.0))
        assert only(exploding_signal.find(make.network(layers))).layer == "layers.5"

    def test_large_inputs_are_the_scale(self, make):
        inputs = (InputRecord("0", make.moments(1e8)),)
        assert not list(exploding_signal.find(make.network(stepped(make, 1e9), inputs=inputs)))

    def test_no_layers_and_no_inputs(self, make):
        assert not list(exploding_signal.find(make.network([], inputs=())))

    def test_nan_elsewhere_is_left_out(self, make):
        layers = make.changed(stepped(make, 1e9), 7, output=make.moments(math.nan, nonfinite=5), activation=None)
        finding = only(exploding_signal.find(make.network(layers)))
        assert "layers.7" not in finding.layers


class TestSaturated:
    @pytest.mark.parametrize(
        ("activation", "warning", "error"), [("tanh", 0.255, 0.505), ("sigmoid", 0.25, 0.5), ("hardtanh", 0.595, 0.845)]
    )
    def test_severity_changes_at_each_threshold(self, make, activation, warning, error):
        def found(share):
            return severities(saturated.find(make.network(make.chain(3, activation=activation, saturated=share))))

        assert found(warning - 0.01) == []
        assert found(warning + 0.01) == ["warning"]
        assert found(error - 0.01) == ["warning"]
        assert found(error + 0.01) == ["error"]

    def test_it_names_the_first_of_the_worst(self, make):
        layers = make.chain(4, activation="tanh", saturated=[0.4, 0.1, 0.9, 0.8])
        finding = only(saturated.find(make.network(layers)))
        assert (finding.layer, finding.layers) == ("layers.2", ("layers.2", "layers.3"))

    def test_the_output_of_the_network_may_be_certain(self, make):
        layers = [make.layer(0), make.layer(1, activation="sigmoid", saturated=1.0)]
        assert not list(saturated.find(make.network(layers)))

    def test_activations_without_a_plateau(self, make):
        assert not list(saturated.find(make.network(make.chain(3, saturated=None))))
        assert not list(saturated.find(make.network([])))


class TestDead:
    def test_chance_is_allowed_for(self, make):
        # Unit means as far apart as the samples: with 8 samples E[Phi(z)^8] = 1/9 of the units are silent.
        pre = make.moments(math.sqrt(2), spread=1.0)
        edge = 1 / 9 + 4 * math.sqrt(1 / 9 * 8 / 9 / 64) + 0.1
        for share, expected in [(edge - 0.005, []), (edge + 0.005, ["warning"]), (0.8, ["error"])]:
            layers = make.chain(3, dead=share, output=pre)
            assert severities(dead.find(make.network(layers))) == expected

    def test_expected_share_is_the_closed_form(self, make):
        activation = make.layer(0, dead=0.0, output=make.moments(math.sqrt(2), spread=1.0)).activation
        assert dead.expected_share(activation) == pytest.approx(1 / 9, abs=1e-3)

    @pytest.mark.parametrize(("std", "spread", "share"), [(1.0, 1.0, 2.0**-8), (1e6, 1.0, 0.5), (1.0, 0.0, 0.5)])
    def test_expected_share_in_the_limits(self, make, std, spread, share):
        activation = make.layer(0, dead=0.0, output=make.moments(std, spread=spread)).activation
        assert dead.expected_share(activation) == pytest.approx(share, abs=0.003)

    def test_a_few_samples_silence_more_units(self, make):
        few = make.layer(0, dead=0.0, output=make.moments(1.0, shape=(2, 64))).activation
        assert dead.expected_share(few) == pytest.approx(0.25, abs=1e-6)

    def test_all_units_dead_is_an_error_even_where_chance_takes_half(self, make):
        layers = make.chain(3, dead=1.0, output=make.moments(1.0, spread=0.0))
        assert severities(dead.find(make.network(layers))) == ["error"]

    def test_one_unit_that_is_dead_is_a_warning(self, make):
        layers = make.chain(3, dead=1.0, units=1, output=make.moments(1.0, spread=0.0))
        assert severities(dead.find(make.network(layers))) == ["warning"]

    def test_victims_of_an_earlier_layer_are_not_named(self, make):
        silent = make.moments(0.0, spread=0.0)
        layers = make.chain(5, dead=[0.0, 0.0, 1.0, 1.0, 1.0], input=[make.moments()] * 3 + [silent] * 2)
        finding = only(dead.find(make.network(layers)))
        assert finding.layers == ("layers.2",)
        assert finding.explanation.startswith("All 64 units of layer 'layers.2'")

    def test_activations_that_cannot_die(self, make):
        assert not list(dead.find(make.network(make.chain(3, dead=None))))
        assert not list(dead.find(make.network([])))
