"""gain-mismatch and symmetric, on hand-written records."""

import math

import pytest

from evenflow.diagnose.rules import gain_mismatch, symmetric
from evenflow.diagnose.suitable import suitable_gains, suitable_rule
from evenflow.probe.activations import NAMES
from evenflow.probe.records import Activation

HE = math.sqrt(2)
EQUAL = {"distinct_rows": 1, "grad_distinct_rows": 1}


def only(findings):
    (finding,) = findings
    return finding


def one_off(make, factor, depth=10, place=5):
    """A He network in which one layer multiplies its signal by `factor` too much."""
    signals = [make.moments(1.0 if index < place else factor) for index in range(depth)]
    inputs = [make.moments(1.0 if index <= place else factor) for index in range(depth)]
    gains = [HE * factor if index == place else HE for index in range(depth)]
    outputs = [make.moments(HE * signal.rms) for signal in signals]
    return make.chain(depth, gain=gains, signal=signals, input=inputs, output=outputs)


class TestGainMismatch:
    @pytest.mark.parametrize(
        ("factor", "severity"),
        [(4.9, None), (5.1, "note"), (29, "note"), (31, "warning"), (290, "warning"), (310, "error")],
    )
    @pytest.mark.parametrize("inverted", [False, True])
    def test_severity_follows_the_compound_factor(self, make, factor, severity, inverted):
        # Ten weights of 64 x 64 random values know their scale within three standard deviations of 1/sqrt(2 n) each.
        factor *= math.exp(3 * math.sqrt(10 / (2 * 64 * 64)))
        layers = one_off(make, 1 / factor if inverted else factor)
        found = list(gain_mismatch.find(make.network(layers)))
        assert [finding.severity for finding in found] == ([severity] if severity else [])

    def test_small_errors_add_up_over_depth(self, make):
        shrinking = [make.moments(0.5 ** (index / 2)) for index in range(21)]
        layers = make.chain(20, gain=1.0, input=shrinking[:20], signal=shrinking[1:], output=shrinking[:20])
        finding = only(gain_mismatch.find(make.network(layers)))
        assert (finding.severity, finding.layer, len(finding.layers)) == ("error", "layers.0", 20)
        assert finding.evidence["compound"] == pytest.approx(2**-10, rel=1e-6)
        assert "too small" in finding.explanation
        assert finding.remedy.endswith("(He).")

    def test_the_one_bad_layer_is_named_although_an_earlier_one_is_a_little_off(self, make):
        layers = one_off(make, 1000.0)
        layers[0] = make.layer(0, gain=HE * 1.2, output=make.moments(HE * 1.2))
        finding = only(gain_mismatch.find(make.network(layers)))
        assert finding.layer == "layers.5"
        assert finding.layers == ("layers.5",)

    def test_both_the_weights_and_the_batch_must_show_it(self, make):
        only_weights = make.chain(10, gain=HE * 4, output=make.moments(HE))
        only_batch = make.chain(10, output=make.moments(HE * 4))
        assert not list(gain_mismatch.find(make.network(only_weights)))
        assert not list(gain_mismatch.find(make.network(only_batch)))

    @pytest.mark.parametrize("exempt", [{"normalised": True}, {"bypassed": True}])
    def test_normalised_layers_and_residual_branches_are_exempt(self, make, exempt):
        layers = make.chain(10, gain=HE * 8, output=make.moments(HE * 8), **exempt)
        assert not list(gain_mismatch.find(make.network(layers)))

    def test_a_normalisation_ends_what_has_added_up(self, make):
        layers = []
        for index in range(0, 12, 2):
            layers.append(make.layer(index, gain=HE * 4, output=make.moments(HE * 4)))
            layers.append(make.layer(index + 1, role="norm", kind="LayerNorm", activation=None, fans=None))
        layers.append(make.head(12))
        assert not list(gain_mismatch.find(make.network(layers)))

    def test_where_paths_join_the_one_with_the_smaller_error_counts(self, make):
        small = make.moments(0.01)
        layers = [
            make.layer(0, gain=HE / 100, signal=small, output=make.moments(HE / 100)),
            make.layer(1, sources=()),
            make.layer(2, gain=HE / 2, sources=(0, 1), output=make.moments(HE / 2)),
            make.head(3),
        ]
        assert only(gain_mismatch.find(make.network(layers))).evidence["compound"] == pytest.approx(0.01)

    def test_a_last_layer_may_be_small_but_not_large(self, make):
        small = [*make.chain(3)[:3], make.head(3, gain=1e-4, output=make.moments(1e-4))]
        large = [*make.chain(3)[:3], make.head(3, gain=100.0, output=make.moments(100.0))]
        assert not list(gain_mismatch.find(make.network(small)))
        finding = only(gain_mismatch.find(make.network(large)))
        assert (finding.layer, finding.severity) == ("head", "warning")
        assert "a last layer wants 1.41 or less" in finding.explanation

    @pytest.mark.parametrize(
        "hidden",
        [
            {"distinct_rows": 1},
            {"rms": 0.0},
            {"nonfinite": 1},
            {"name": "layers.5.parametrizations.weight.original"},
            {"name": "layers.5.weight_orig"},
        ],
    )
    def test_weights_that_are_not_plain_random_numbers_say_nothing(self, make, hidden):
        layers = make.with_weight(one_off(make, 1000.0), 5, **hidden)
        assert not list(gain_mismatch.find(make.network(layers)))

    def test_two_matrices_behind_one_layer_say_nothing(self, make):
        layers = one_off(make, 1000.0)
        pair = (make.weight("layers.5.g", 1.0, shape=(64, 1)), make.weight("layers.5.v"))
        assert not list(gain_mismatch.find(make.network(make.changed(layers, 5, parameters=pair))))

    def test_layers_behind_an_overflow_are_named_by_their_weights(self, make):
        broken = make.moments(math.nan, nonfinite=9)
        growing = [make.moments(8.0**index) if index < 5 else broken for index in range(11)]
        layers = make.chain(10, gain=8 * HE, input=growing[:10], signal=growing[1:], output=growing[1:])
        finding = only(gain_mismatch.find(make.network(layers)))
        assert finding.layers == tuple(f"layers.{index}" for index in range(10))

    def test_a_thousand_layers_do_not_overflow_the_evidence(self, make):
        layers = make.chain(1000, activation="tanh", gain=8.0, output=make.moments(8.0))
        finding = only(gain_mismatch.find(make.network(layers)))
        assert math.isfinite(finding.evidence["compound"])

    @pytest.mark.parametrize("depth", [0, 1])
    def test_no_layers_or_one_is_no_mismatch(self, make, depth):
        assert not list(gain_mismatch.find(make.network(make.chain(depth)[:depth])))

    def test_indices_and_constant_signals_say_nothing(self, make):
        silent = [None, make.moments(1.0, spread=0.0)]
        for signal in silent:
            layers = make.chain(10, gain=HE * 8, input=signal, output=make.moments(HE * 8))
            assert not list(gain_mismatch.find(make.network(layers)))


class TestSuitableGains:
    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_every_activation_that_the_probe_knows_has_gains_and_a_rule(self, make, name):
        activation = Activation(name, None, make.moments(), make.moments(), None, None, 64)
        low, high = suitable_gains(activation)
        assert 0 < low <= high < 10
        assert suitable_rule(activation).function.endswith("_")

    def test_rectifiers_have_one_gain_and_bounded_functions_an_interval(self, make):
        def gains(name, param=None):
            return suitable_gains(Activation(name, param, make.moments(), make.moments(), None, None, 64))

        assert gains("relu") == (pytest.approx(HE), pytest.approx(HE))
        assert gains("leaky_relu", 1.0) == (pytest.approx(1.0), pytest.approx(1.0))
        assert gains("tanh") == (1.0, pytest.approx(5 / 3))
        assert suitable_gains(None) == (1.0, 1.0)

    def test_an_activation_without_a_gain_suits_everything(self, make):
        closed = Activation("hardshrink", 1e6, make.moments(), make.moments(), None, None, 64)
        assert suitable_gains(closed) == (0.0, math.inf)
        layers = make.chain(10, activation="hardshrink", param=1e6, gain=50.0, output=make.moments(50.0))
        assert not list(gain_mismatch.find(make.network(layers)))


class TestSymmetric:
    @pytest.mark.parametrize(("rms", "word"), [(0.0, "(zero)"), (0.1, "(constant)")])
    def test_equal_rows_with_equal_gradients_are_an_error(self, make, rms, word):
        layers = make.with_weight(make.with_weight(make.chain(5), 2, rms=rms, **EQUAL), 3, **EQUAL)
        finding = only(symmetric.find(make.network(layers)))
        assert (finding.severity, finding.layer) == ("error", "layers.2")
        assert finding.layers == ("layers.2", "layers.3")
        assert word in finding.explanation

    @pytest.mark.parametrize(
        "healthy",
        [
            {"distinct_rows": 2, "grad_distinct_rows": 1},
            {"distinct_rows": 1, "grad_distinct_rows": 2},
            {"distinct_rows": 1, "grad_distinct_rows": None, "grad_norm": None, "trainable": False},
            {"distinct_rows": 1, "grad_distinct_rows": 1, "grad_nonfinite": 3},
            {"distinct_rows": 1, "grad_distinct_rows": 1, "nonfinite": 1},
            {"distinct_rows": 1, "grad_distinct_rows": 1, "rows": 1},
        ],
    )
    def test_what_is_not_symmetric(self, make, healthy):
        assert not list(symmetric.find(make.network(make.with_weight(make.chain(5), 2, **healthy))))

    def test_an_embedding_is_exempt(self, make):
        layers = make.changed(make.with_weight(make.chain(5), 0, **EQUAL), 0, role="embedding")
        assert not list(symmetric.find(make.network(layers)))

    def test_a_zero_branch_waits_for_a_zero_head_as_in_fixup(self, make):
        layers = make.changed(make.with_weight(make.chain(5), 2, rms=0.0, **EQUAL), 2, bypassed=True)
        alone = make.network(layers)
        waiting = make.network(make.with_weight(layers, 5, rms=0.0, distinct_rows=1))
        assert [finding.layer for finding in symmetric.find(alone)] == ["layers.2"]
        assert not list(symmetric.find(waiting))

    def test_a_zero_branch_does_not_wait_for_a_head_that_gets_nothing(self, make):
        layers = make.changed(make.with_weight(make.chain(5), 2, rms=0.0, **EQUAL), 2, bypassed=True)
        layers = make.with_weight(layers, 5, rms=0.0, distinct_rows=1)
        deaf = make.changed(layers, 5, input=make.moments(0.5, spread=0.0))
        assert [finding.layer for finding in symmetric.find(make.network(deaf))] == ["layers.2"]

    def test_zero_layers_in_the_only_path_are_symmetric_behind_a_zero_head_too(self, make):
        layers = make.with_weight(make.chain(5), 2, rms=0.0, **EQUAL)
        waiting = make.network(make.with_weight(layers, 5, rms=0.0, distinct_rows=1))
        assert [finding.layer for finding in symmetric.find(waiting)] == ["layers.2"]
