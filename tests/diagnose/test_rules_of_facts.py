"""non-finite, input-scale, loss-at-start and the notes on conditions, on hand-written records."""

import math
from dataclasses import replace

import pytest

from evenflow.diagnose.rules import conditions, input_scale, loss_at_start, non_finite
from evenflow.probe.records import InputRecord, LossRecord

NAN = math.nan


def only(findings):
    (finding,) = findings
    return finding


class TestNonFinite:
    def broken(self, make, **options):
        """A network in which layer 2 and everything after it gives NaN."""
        bad = make.moments(NAN, nonfinite=7)
        layers = make.chain(4, signal=[make.moments()] * 2 + [bad] * 2, input=[make.moments()] * 3 + [bad])
        layers = make.changed(layers, 4, input=bad, output=bad)
        return make.network(layers, loss=LossRecord("cross-entropy", NAN), **options)

    def test_data_come_first(self, make):
        inputs = (InputRecord("0", make.moments()), InputRecord("mask", make.moments(1.0, nonfinite=1)))
        finding = only(non_finite.find(self.broken(make, inputs=inputs, nonfinite_parameters=("layers.0.weight",))))
        assert (finding.layer, finding.evidence["where"], finding.evidence["input"]) == ("input", "data", "mask")
        assert finding.explanation.startswith("Input mask holds 1 value that is NaN")

    def test_a_mask_of_infinities_among_the_inputs_is_a_note(self, make):
        inputs = (InputRecord("mask", make.moments(1.0, nonfinite=28)),)
        assert only(non_finite.find(make.network(make.chain(3), inputs=inputs))).severity == "note"

    def test_parameters_come_second_in_execution_order(self, make):
        network = self.broken(make, nonfinite_parameters=("layers.3.bias", "layers.2.weight"))
        finding = only(non_finite.find(network))
        assert (finding.layer, finding.layers) == ("layers.2", ("layers.2", "layers.3"))
        assert finding.evidence["where"] == "parameters"

    def test_a_raw_parameter_is_its_own_place(self, make):
        bad = make.moments(NAN, nonfinite=3)
        layers = make.changed(make.chain(4), 2, input=bad, output=bad)
        finding = only(non_finite.find(make.network(layers, nonfinite_parameters=("scale",))))
        assert (finding.layer, finding.evidence["where"]) == ("scale", "parameters")

    def test_a_mask_is_not_blamed_for_an_overflow(self, make):
        finding = only(non_finite.find(self.broken(make, nonfinite_parameters=("attention.mask",))))
        assert (finding.layer, finding.evidence["where"]) == ("layers.2", "forward")

    def test_a_mask_among_the_inputs_does_not_hide_a_broken_parameter(self, make):
        norm = make.layer(0, name="norm", role="norm", kind="BatchNorm1d")
        inputs = (InputRecord("mask", make.moments(1.0, nonfinite=28)),)
        network = make.network([norm, make.head(1)], inputs=inputs, nonfinite_parameters=("norm.running_var",))
        assert [finding.severity for finding in non_finite.find(network)] == ["note", "error"]

    def test_a_buffer_that_holds_a_mask_is_no_fault(self, make):
        network = make.network(make.chain(3), nonfinite_parameters=("attention.mask",))
        assert not list(non_finite.find(network))

    def test_running_statistics_of_nan_are_a_fault_though_training_mode_hides_it(self, make):
        norm = make.layer(0, name="norm", role="norm", kind="BatchNorm1d")
        finding = only(non_finite.find(make.network([norm, make.head(1)], nonfinite_parameters=("norm.running_var",))))
        assert (finding.severity, finding.layer) == ("error", "norm")
        assert "reset_running_stats" in finding.remedy

    def test_an_overflow_is_named_where_it_begins(self, make):
        finding = only(non_finite.find(self.broken(make)))
        assert (finding.layer, finding.layers) == ("layers.2", ("layers.2", "layers.3", "head"))
        assert "it overflows" in finding.explanation

    def test_an_operation_between_layers_is_not_blamed_on_the_layer(self, make):
        bad = make.moments(NAN, nonfinite=3)
        layers = make.changed(make.chain(4), 2, input=bad, output=bad)
        finding = only(non_finite.find(make.network(layers)))
        assert finding.layer == "layers.2"
        assert "an operation between them breaks" in finding.explanation

    def test_an_activation_that_breaks(self, make):
        layer = make.layer(0, output=make.moments(), signal=make.moments(NAN, nonfinite=2))
        finding = only(non_finite.find(make.network([layer, make.head(1)])))
        assert finding.explanation.startswith("The activation after layer 'layers.0'")

    def test_a_loss_alone(self, make):
        finding = only(non_finite.find(make.network(make.chain(2), loss=LossRecord("given", math.inf))))
        assert (finding.layer, finding.evidence["where"]) == ("loss", "loss")

    def test_a_gradient_alone_is_named_from_the_output(self, make):
        bad = make.gradient(1.0, nonfinite=1)
        layers = make.chain(4, gradient=[bad, bad, bad, make.gradient()])
        finding = only(non_finite.find(make.network(layers)))
        assert (finding.layer, finding.layers) == ("layers.2", ("layers.2", "layers.1", "layers.0"))

    def test_finite_networks(self, make):
        assert not list(non_finite.find(make.network(make.chain(3))))
        assert not list(non_finite.find(make.network([])))


class TestInputScale:
    def found(self, make, *, layers=None, median=None, high=None, **options):
        item = InputRecord("0", make.moments(**options), median, high)
        return list(input_scale.find(make.network(make.chain(3) if layers is None else layers, inputs=(item,))))

    @pytest.mark.parametrize(
        ("rms", "severity"),
        [
            (0.0, "error"), (0.9e-3, "error"), (1.1e-3, "warning"), (0.09, "warning"), (0.11, None),
            (4.9, None), (5.1, "warning"), (99.0, "warning"), (101.0, "error"),
        ],
    )  # fmt: skip
    def test_severity_by_root_mean_square(self, make, rms, severity):
        assert [f.severity for f in self.found(make, rms=rms)] == ([severity] if severity else [])

    def test_sparse_one_hot_inputs_are_usual(self, make):
        assert not self.found(make, rms=0.03, shape=(128, 1000), low=0.0)
        assert self.found(make, rms=0.03, shape=(128, 1000), low=-1.0)

    @pytest.mark.parametrize(("ratio", "count"), [(29, 0), (31, 1)])
    def test_one_feature_that_drowns_the_others(self, make, ratio, count):
        found = self.found(make, median=0.1, high=0.1 * ratio)
        assert [f.severity for f in found] == ["warning"] * count

    @pytest.mark.parametrize("first", [{"role": "norm"}, {"normalised": True}])
    def test_a_network_that_normalises_its_input_gets_a_note(self, make, first):
        layers = make.changed(make.chain(3), 0, **first)
        assert [f.severity for f in self.found(make, rms=1e3, layers=layers)] == ["note"]
        assert [f.severity for f in self.found(make, median=1e-3, high=1.0, layers=layers)] == ["note"]

    def test_one_reader_that_does_not_normalise_is_enough(self, make):
        layers = make.changed(make.changed(make.chain(3), 0, role="norm"), 1, sources=())
        assert [f.severity for f in self.found(make, rms=1e3, layers=layers)] == ["error"]

    def test_every_input_is_looked_at_and_nan_is_left_out(self, make):
        bad = InputRecord("b", make.moments(1e3)), InputRecord("c", make.moments(1e3, nonfinite=1))
        network = make.network(make.chain(3), inputs=(InputRecord("a", make.moments()), *bad))
        assert ["Input b" in f.explanation for f in input_scale.find(network)] == [True]

    def test_indices_have_no_scale(self, make):
        assert not list(input_scale.find(make.network(make.chain(3), inputs=())))


class TestLossAtStart:
    @pytest.mark.parametrize(
        ("excess", "severity"), [(-2.3, None), (2.9, None), (3.1, "warning"), (9.9, "warning"), (10.1, "error")]
    )
    def test_severity_by_excess(self, make, excess, severity):
        loss = LossRecord("cross-entropy", math.log(10) + excess, math.log(10), 10)
        found = list(loss_at_start.find(make.network(make.chain(3), loss=loss)))
        assert [f.severity for f in found] == ([severity] if severity else [])
        assert all(f.layer == "head" for f in found)

    @pytest.mark.parametrize("loss", [LossRecord("given", 1e9), LossRecord("cross-entropy", NAN, 2.3, 10)])
    def test_other_losses_say_nothing(self, make, loss):
        assert not list(loss_at_start.find(make.network(make.chain(3), loss=loss)))

    def test_without_layers_or_with_nan_outputs(self, make):
        loss = LossRecord("cross-entropy", 99.0, 2.3, 10)
        assert not list(loss_at_start.find(make.network([], loss=loss)))
        broken = make.network(make.chain(3), loss=loss, output=make.moments(1.0, nonfinite=1))
        assert not list(loss_at_start.find(broken))


class TestConditions:
    def test_a_plain_call_has_none(self, make):
        assert not list(conditions.find(make.network(make.chain(3))))

    @pytest.mark.parametrize(
        ("fact", "rule", "layer"),
        [
            ({"was_training": False}, "eval-mode", ""),
            ({"samples": 1}, "one-sample", "input"),
            ({"unused": ("aux", "extra.0")}, "unused", "aux"),
            ({"frozen": ("body.0.weight", "body.0.bias")}, "frozen", "body.0"),
        ],
    )
    def test_facts_are_notes(self, make, fact, rule, layer):
        finding = only(conditions.find(make.network(make.chain(3), **fact)))
        assert (finding.rule, finding.severity, finding.layer) == (rule, "note", layer)

    def test_equal_samples_are_told(self, make):
        layers = make.changed(make.chain(3), 0, input=make.moments(1.0, spread=0.0))
        assert only(conditions.find(make.network(layers))).rule == "constant-input"
        mask = make.layer(1, sources=(), input=make.moments(1.0, spread=0.0))
        indices = [replace(layers[0], role="embedding", input=None), mask, make.head(2)]
        assert not list(conditions.find(make.network(indices)))

    @pytest.mark.parametrize(("count", "words"), [(1, "1 parameter does not"), (3, "3 parameters do not")])
    def test_numbers_agree_with_their_verbs(self, make, count, words):
        frozen = tuple(f"body.{index}" for index in range(count))
        assert words in only(conditions.find(make.network(make.chain(3), frozen=frozen))).explanation
