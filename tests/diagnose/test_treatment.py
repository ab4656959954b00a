"""treat_: what it keeps, what it takes back, and that a failure leaves the model as it was."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from evenflow.diagnose import Diagnosis, Prescription, check, treat_
from evenflow.diagnose.treat import ClipGradNorm, InsertBatchNorm, Redraw, Reinitialize, StandardizeInput
from evenflow.errors import ModelError, ParameterTypeError, TreatmentError


def bits(model):
    return [(name, id(t), t.detach().numpy().tobytes()) for name, t in model.named_parameters()]


@pytest.fixture
def deep(zoo):
    """A 30-layer ReLU network as torch initialises it: gain-mismatch with its consequences."""
    torch.manual_seed(0)
    return zoo.SICK["relu-30-torch"].build()


@pytest.fixture
def batch(zoo):
    return zoo.digit_vectors()


def he(model, **options):
    draws = [Redraw(f"{i}.weight", "he_normal_", layer.in_features, layer.out_features, **options)
             for i, layer in enumerate(model) if isinstance(layer, nn.Linear)]  # fmt: skip
    return Prescription((Reinitialize(tuple(draws)),))


class TestArguments:
    def test_a_prescription_with_a_batch(self, deep, batch):
        treatment = treat_(deep, he(deep), batch)
        assert treatment.kept
        assert isinstance(treatment.before, Diagnosis)
        assert not treatment.before.ok

    def test_a_prescription_alone_cannot_be_checked(self, deep):
        with pytest.raises(TreatmentError, match=r"treat_\(model, prescription, batch\)"):
            treat_(deep, he(deep))

    def test_a_diagnosis_without_a_batch_needs_one(self, deep, batch):
        known = check(deep, batch)
        bare = replace(known, batch=None)
        with pytest.raises(TreatmentError, match="pass batch="):
            treat_(deep, bare)
        assert treat_(deep, bare, batch).kept

    @pytest.mark.parametrize("wrong", [None, "he", 3])
    def test_anything_else_is_a_type_error(self, deep, batch, wrong):
        with pytest.raises(ParameterTypeError, match="must be a Diagnosis or a Prescription"):
            treat_(deep, wrong, batch)

    def test_the_model_must_be_a_module(self, deep, batch):
        with pytest.raises(ParameterTypeError, match=r"torch\.nn\.Module"):
            treat_("model", check(deep, batch))

    def test_the_loss_of_the_diagnosis_is_used_again(self, deep, batch):
        calls = []

        def loss(output, targets):
            calls.append(None)
            return nn.functional.cross_entropy(output, targets)

        diagnosis = check(deep, batch, loss)
        before = len(calls)
        treat_(deep, diagnosis)
        assert len(calls) > before

    def test_another_batch_is_measured_first(self, deep, batch):
        other = batch[0][:32], batch[1][:32]
        assert treat_(deep, check(deep, batch), other).before.record.samples == 32


class TestRefused:
    def refused(self, model, prescription, batch, message):
        before, shown = bits(model), str(model)
        with pytest.raises(TreatmentError, match=message):
            treat_(model, prescription, batch)
        assert (bits(model), str(model)) == (before, shown)

    def test_another_models_parameters(self, deep, batch):
        good, bad = Redraw("0.weight", "he_normal_", 64, 128), Redraw("encoder.weight", "he_normal_", 4, 4)
        self.refused(deep, Prescription((Reinitialize((good, bad)),)), batch, r"no parameter encoder\.weight")

    def test_another_models_layers_after_a_remedy_that_fits(self, deep, batch):
        remedies = (*he(deep).remedies, InsertBatchNorm(("encoder.0",)))
        self.refused(deep, Prescription(remedies), batch, "no module 'encoder.0'")

    def test_frozen_parameters(self, deep, batch):
        deep[4].requires_grad_(requires_grad=False)
        self.refused(deep, he(deep), batch, r"4\.weight is frozen")

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ("magic_", "has no rule 'magic_'"),
            ("__name__", "has no rule '__name__'"),
            ("calculate_gain", "cannot draw"),
            ("ones_", "cannot draw"),
        ],
    )
    def test_unknown_rules_and_rules_without_fans(self, deep, batch, rule, message):
        self.refused(deep, Prescription((Reinitialize((Redraw("0.weight", rule, 4, 4),)),)), batch, message)

    def test_unknown_options(self, deep, batch):
        self.refused(deep, he(deep, options={"sloppe": 0.1}), batch, "sloppe")

    def test_a_value_out_of_range_is_taken_back(self, deep, batch):
        draws = (Redraw("0.weight", "he_normal_", 64, 128), Redraw("2.weight", "he_normal_", -1, 128))
        before = bits(deep)
        with pytest.raises(ValueError, match="fan_in"):
            treat_(deep, Prescription((Reinitialize(draws),)), batch)
        assert bits(deep) == before


class TestTakenBack:
    def test_a_harmful_prescription(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.mlp(10, weight_=zoo.he_)
        before = bits(model)
        harmful = Reinitialize(
            tuple(Redraw(f"{2 * i}.weight", "variance_scaling_", 64, 64, {"scale": 400.0}) for i in range(9))
        )
        treatment = treat_(model, Prescription((harmful,)), batch)
        assert not treatment.kept
        assert treatment.reason.startswith("taken back: it brought exploding-gradient, exploding-signal, gain-mismatch")
        assert treatment.after is treatment.before
        assert bits(model) == before

    def test_a_prescription_that_changes_nothing_for_the_better(self, deep, batch):
        before = bits(deep)
        idle = Reinitialize((Redraw("0.weight", "lecun_normal_", 64, 128),))
        treatment = treat_(deep, Prescription((idle,)), batch)
        # The first round did not help; the second, prescribed by the check after it, did.
        assert treatment.kept
        assert treatment.applied[0] == idle
        treatment.undo()
        assert bits(deep) == before

    def test_when_no_round_helps_every_finding_remains(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.mlp(10, weight_=zoo.he_)
        before = bits(model)
        treatment = treat_(model, Prescription((Reinitialize((Redraw("0.weight", "he_normal_", 64, 64),)),)), batch)
        assert (treatment.kept, treatment.reason) == (False, "taken back: every finding remained")
        assert bits(model) == before

    def test_a_model_that_raises_in_the_second_check(self, batch):
        class Tires(nn.Sequential):
            calls = 0

            def forward(self, x):
                type(self).calls += 1
                if self.calls > 1:
                    raise RuntimeError("tired")
                return super().forward(x)

        torch.manual_seed(0)
        model = Tires(*(part for _ in range(20) for part in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 10))
        before = bits(model)
        with pytest.raises(ModelError, match="tired"):
            treat_(model, check(model, batch))
        assert bits(model) == before

    def test_an_interrupt_takes_everything_back(self, deep, batch, monkeypatch):
        diagnosis = check(deep, batch)
        before = bits(deep)

        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr("evenflow.diagnose.treatment.check", interrupted)
        with pytest.raises(KeyboardInterrupt):
            treat_(deep, diagnosis)
        assert bits(deep) == before

    def test_a_later_round_that_harms_leaves_the_earlier_one(self, deep, batch, monkeypatch):
        """The check after the first round reports progress, the one after the second a new error."""
        known = check(deep, batch)
        new_head = Reinitialize((Redraw("58.weight", "lecun_normal_", 128, 10, bias="58.bias"),))
        dead = replace(known.findings[0], rule="dead")
        progress = replace(known, findings=known.findings[:1], prescription=Prescription((new_head,)))
        harm = replace(known, findings=(*known.findings, dead))
        answers = iter([progress, harm])
        monkeypatch.setattr("evenflow.diagnose.treatment.check", lambda *args: next(answers))
        before = bits(deep)
        treatment = treat_(deep, known)
        assert treatment.kept
        assert treatment.applied == known.prescription.remedies
        assert treatment.after is progress
        assert [new == old for new, old in zip(bits(deep), before, strict=True)][-2:] == [True, True]
        treatment.undo()
        assert bits(deep) == before


class TestKept:
    def test_a_healthy_network_is_left_alone(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.mlp(10, nn.Tanh, weight_=zoo.glorot_)
        before = bits(model)
        treatment = treat_(model, check(model, batch))
        assert (treatment.kept, treatment.reason, treatment.applied) == (False, "nothing is prescribed", ())
        assert bits(model) == before

    def test_warnings_alone_are_treated(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.mlp(6)
        diagnosis = check(model, batch)
        assert diagnosis.ok
        treatment = treat_(model, diagnosis)
        assert treatment.kept
        assert {f.severity for f in treatment.after.findings} <= {"note"}
        assert treatment.reason == "kept: gain-mismatch, vanishing-signal gone"

    def test_advice_is_not_applied(self, deep, batch):
        advice = StandardizeInput(0.0, 2.0), ClipGradNorm(1.0)
        treatment = treat_(deep, Prescription((*advice, *he(deep).remedies)), batch)
        assert treatment.advice == advice
        assert treatment.applied == he(deep).remedies
        assert treatment.describe()[0].startswith("standardise the inputs")

    def test_advice_alone_changes_nothing(self, deep, batch):
        before = bits(deep)
        treatment = treat_(deep, Prescription((ClipGradNorm(1.0),)), batch)
        assert not treatment.kept
        assert bits(deep) == before

    def test_a_trained_network_with_one_broken_layer(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.with_nan(zoo.trained(zoo.mlp(4, weight_=zoo.he_)), 1)
        others = [layer.weight.clone() for layer in zoo.linears(model)]
        treatment = treat_(model, check(model, batch))
        assert treatment.kept
        assert treatment.after.ok
        changed = [not torch.equal(a.weight, b) for a, b in zip(zoo.linears(model), others, strict=True)]
        assert changed == [False, True, False, False]

    @pytest.mark.parametrize("training", [True, False])
    def test_modes_stay_and_new_layers_take_theirs(self, zoo, batch, training):
        torch.manual_seed(0)
        model = zoo.SICK["sigmoid-10-glorot"].build().train(training)
        treatment = treat_(model, check(model, batch))
        assert treatment.kept
        assert {module.training for module in model.modules()} == {training}

    def test_a_compiled_model_is_treated_through_its_wrapper(self, deep, batch):
        compiled = torch.compile(deep, backend="eager")
        treatment = treat_(compiled, check(compiled, batch))
        assert treatment.kept
        assert check(deep, batch).ok
        with torch.no_grad():
            assert torch.equal(compiled(batch[0]), deep(batch[0]))

    def test_gradients_and_random_states_are_not_touched(self, deep, batch):
        nn.functional.cross_entropy(deep(batch[0]), batch[1]).backward()
        gradients = [parameter.grad.clone() for parameter in deep.parameters()]
        state = torch.get_rng_state()
        treat_(deep, check(deep, batch))
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(p.grad, g) for p, g in zip(deep.parameters(), gradients, strict=True))

    def test_the_draws_do_not_depend_on_the_global_seed(self, deep, batch):
        twin = copy.deepcopy(deep)
        treat_(deep, check(deep, batch))
        torch.manual_seed(99)
        treat_(twin, check(twin, batch))
        assert all(torch.equal(a, b) for a, b in zip(deep.parameters(), twin.parameters(), strict=True))


class TestRecord:
    def test_it_can_be_undone_once(self, deep, batch):
        before = bits(deep)
        treatment = treat_(deep, check(deep, batch))
        treatment.undo()
        assert bits(deep) == before
        assert (treatment.kept, treatment.reason) == (False, "undone")
        assert treatment.after is treatment.before
        with pytest.raises(TreatmentError, match="undone already"):
            treatment.undo()

    def test_what_was_not_kept_cannot_be_undone(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.mlp(10, nn.Tanh, weight_=zoo.glorot_)
        with pytest.raises(TreatmentError, match="nothing to undo"):
            treat_(model, check(model, batch)).undo()

    def test_an_undo_that_finds_the_model_changed_says_so_and_can_be_repeated(self, zoo, batch):
        torch.manual_seed(0)
        model = zoo.SICK["sigmoid-10-glorot"].build()
        treatment = treat_(model, check(model, batch))
        pair, model[0] = model[0], nn.Identity()
        with pytest.raises(TreatmentError, match="not there any more"):
            treatment.undo()
        model[0] = pair
        treatment.undo()
        assert isinstance(model[0], nn.Linear)

    def test_repr_is_short(self, deep, batch):
        shown = repr(treat_(deep, check(deep, batch)))
        assert shown.startswith("<Treatment of Sequential: kept: gain-mismatch, ")
        assert shown.endswith("; healthy now>")
        assert len(shown) < 150

    def test_to_dict_is_json(self, sick):
        model = sick.build()
        told = treat_(model, check(model, sick.batch())).to_dict()
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert set(told) == {"kept", "reason", "applied", "advice", "after"}
