"""Which remedy is chosen for which findings, on hand-written records and on real layers."""

import warnings

import pytest
import torch
from torch import nn

from evenflow.diagnose import check, diagnose, treat_
from evenflow.diagnose.finding import Finding
from evenflow.diagnose.prescribe import prescribe
from evenflow.probe.records import InputRecord


def finding(rule, layer="layers.5", severity="error", **options):
    evidence = options.pop("evidence", {"compound": 1e6})
    return Finding(
        rule, severity, layer, evidence, "It is so.", "Change it.", options.pop("layers", (layer,)), **options
    )


def kinds(network, *findings):
    return [remedy.kind for remedy in prescribe(network, findings).remedies]


def drawn(network, *findings):
    remedies = prescribe(network, findings).remedies
    return [draw.parameter for remedy in remedies if remedy.kind == "reinitialize" for draw in remedy.draws]


class TestChoice:
    def test_a_healthy_network_needs_nothing(self, make):
        assert not diagnose(make.network(make.chain(3))).prescription

    def test_notes_need_nothing_unless_they_explain_an_error(self, make):
        network, note = make.network(make.chain(10)), finding("gain-mismatch", severity="note")
        assert kinds(network, note) == []
        assert drawn(network, note, finding("saturated", cause="gain-mismatch")) == ["layers.5.weight"]

    @pytest.mark.parametrize("rule", ["gain-mismatch", "symmetric", "dead", "saturated"])
    def test_weights_that_are_to_blame_are_drawn_again(self, make, rule):
        network = make.network(make.chain(10))
        assert drawn(network, finding(rule, layers=("layers.5", "layers.7"))) == ["layers.5.weight", "layers.7.weight"]

    @pytest.mark.parametrize("rule", ["dead", "saturated"])
    def test_victims_are_not_drawn_again(self, make, rule):
        network = make.network(make.chain(10))
        caused = finding("gain-mismatch", "layers.2"), finding(rule, cause="gain-mismatch")
        assert drawn(network, *caused) == ["layers.2.weight"]

    @pytest.mark.parametrize(("where", "names"), [("parameters", ["layers.5.weight"]), ("forward", []), ("data", [])])
    def test_nan_is_drawn_away_only_where_it_sits_in_the_parameters(self, make, where, names):
        assert drawn(make.network(make.chain(10)), finding("non-finite", evidence={"where": where})) == names

    @pytest.mark.parametrize(
        "rule", ["vanishing-signal", "exploding-signal", "vanishing-gradient", "exploding-gradient"]
    )
    def test_a_signal_lost_for_no_known_reason_is_normalised(self, make, rule):
        network = make.network(make.chain(3))
        assert kinds(network, finding(rule)) == ["insert-batch-norm"]
        (remedy,) = prescribe(network, [finding(rule)]).remedies
        assert remedy.layers == ("layers.0", "layers.1", "layers.2")

    def test_deep_sigmoids_are_normalised_even_when_their_weights_are_drawn_again(self, make):
        lost = finding("symmetric", "layers.0"), finding("vanishing-gradient", cause="symmetric")
        assert kinds(make.network(make.chain(5, activation="sigmoid")), *lost) == ["reinitialize", "insert-batch-norm"]
        assert kinds(make.network(make.chain(4, activation="sigmoid")), *lost) == ["reinitialize"]

    def test_where_nothing_can_be_normalised_the_gradient_is_clipped(self, make):
        network = make.network(make.chain(3, kind="MyLinear"))
        assert kinds(network, finding("exploding-gradient")) == ["clip-grad-norm"]

    def test_a_recurrence_is_clipped_and_nothing_else(self, make):
        layers = make.changed(make.chain(3), 1, role="opaque", name="rnn")
        assert kinds(make.network(layers), finding("exploding-gradient", "rnn")) == ["clip-grad-norm"]

    def test_the_inputs_are_standardised_and_their_victims_left_alone(self, make):
        inputs = (InputRecord("0", make.moments(200.0, std=100.0)),)
        network = make.network(make.chain(3), inputs=inputs)
        found = finding("input-scale", "input"), finding("saturated", cause="input-scale")
        (remedy,) = prescribe(network, found).remedies
        assert (remedy.kind, remedy.std) == ("standardize-input", 100.0)

    def test_inputs_without_a_scale_cannot_be_standardised(self, make):
        network = make.network(make.chain(3), inputs=(InputRecord("0", make.moments(0.0)),))
        assert kinds(network, finding("input-scale", "input")) == []

    @pytest.mark.parametrize(("gain", "names"), [(1.41, ["head.weight"]), (1.0, [])])
    def test_a_loss_that_starts_too_high_is_the_heads_fault_when_it_is_large(self, make, gain, names):
        network = make.network([*make.chain(3)[:3], make.head(3, gain=gain)])
        assert drawn(network, finding("loss-at-start", "head", "warning")) == names

    def test_a_constant_head_is_drawn_again_since_it_passes_no_gradient(self, make):
        layers = make.with_weight(make.chain(3), 3, distinct_rows=1)
        lost = finding("vanishing-gradient", "layers.2")
        assert drawn(make.network(layers), lost) == ["head.weight"]

    def test_a_zero_head_is_left_alone_unless_the_network_is_symmetric(self, make):
        layers = make.with_weight(make.chain(3), 3, distinct_rows=1, rms=0.0)
        assert drawn(make.network(layers), finding("dead", "layers.1")) == ["layers.1.weight"]
        symmetric = finding("symmetric", "layers.1")
        assert drawn(make.network(layers), symmetric) == ["layers.1.weight", "head.weight"]


class TestExemptions:
    def test_frozen_weights_are_never_drawn(self, make):
        layers = make.with_weight(make.chain(10), 5, trainable=False)
        assert drawn(make.network(layers), finding("gain-mismatch", layers=("layers.5", "layers.6"))) == [
            "layers.6.weight"
        ]

    def test_a_frozen_bias_is_not_touched(self, make):
        layers = make.chain(3)
        frozen = (layers[1].parameters[0], make.bias("layers.1.bias", trainable=False))
        layers = make.changed(layers, 1, parameters=frozen)
        (remedy,) = prescribe(make.network(layers), [finding("dead", "layers.1")]).remedies
        assert [draw.bias for draw in remedy.draws] == [None]

    def test_frozen_layers_are_not_normalised(self, make):
        layers = make.with_weight(make.chain(3), 1, trainable=False)
        (remedy,) = prescribe(make.network(layers), [finding("vanishing-signal")]).remedies
        assert remedy.layers == ("layers.0", "layers.2")

    @pytest.mark.parametrize("unfit", [{"normalised": True}, {"activation": None}, {"kind": "Embedding"}])
    def test_layers_that_take_no_norm(self, make, unfit):
        layers = make.changed(make.chain(2), 1, **unfit)
        (remedy,) = prescribe(make.network(layers), [finding("vanishing-signal")]).remedies
        assert remedy.layers == ("layers.0",)

    def test_linear_layers_over_tokens_take_no_norm(self, make):
        layers = make.chain(2, output=make.moments(shape=(128, 7, 64)))
        assert kinds(make.network(layers), finding("vanishing-signal")) == []

    def test_one_sample_is_not_enough_for_a_batch_norm(self, make):
        assert kinds(make.network(make.chain(2), samples=1), finding("vanishing-signal")) == []

    def test_a_layer_that_runs_twice_is_drawn_and_normalised_once(self, make):
        layers = [make.layer(0, name="shared"), make.layer(1, name="shared"), make.head(2)]
        assert drawn(make.network(layers), finding("gain-mismatch", "shared")) == ["shared.weight"]
        (remedy,) = prescribe(make.network(layers), [finding("vanishing-signal")]).remedies
        assert remedy.layers == ("shared",)


class TestRealLayers:
    def sick(self, zoo, depth=30):
        torch.manual_seed(0)
        return zoo.mlp(depth, nn.ReLU, 128)

    def test_tied_weights_are_drawn_once(self, zoo):
        model = self.sick(zoo)
        for layer in zoo.linears(model)[2:-1]:
            layer.weight = zoo.linears(model)[1].weight
        names = [draw.parameter for draw in check(model, zoo.digit_vectors()).prescription.remedies[0].draws]
        assert len(names) == len(set(names)) == 2

    @pytest.mark.parametrize(
        "parametrize", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
    )
    def test_parametrised_weights_are_left_out(self, zoo, parametrize):
        model = self.sick(zoo)
        for layer in zoo.linears(model)[:10]:
            parametrize(layer)
        (remedy,) = check(model, zoo.digit_vectors()).prescription.remedies
        assert [draw.parameter for draw in remedy.draws] == [f"{2 * place}.weight" for place in range(10, 29)]

    def test_old_style_weight_norm_is_left_out(self, zoo):
        model = self.sick(zoo)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.weight_norm(model[4])
        (remedy,) = check(model, zoo.digit_vectors()).prescription.remedies
        assert not [draw.parameter for draw in remedy.draws if draw.parameter.startswith("4.")]

    def test_frozen_layers_stay_bit_for_bit_and_the_rest_is_cured(self, zoo):
        model = self.sick(zoo)
        for layer in zoo.linears(model)[:3]:
            layer.requires_grad_(requires_grad=False)
        before = [layer.weight.clone() for layer in zoo.linears(model)[:3]]
        treatment = treat_(model, check(model, zoo.digit_vectors()))
        assert treatment.kept
        assert treatment.after.ok
        assert all(torch.equal(layer.weight, kept) for layer, kept in zip(zoo.linears(model)[:3], before, strict=True))
