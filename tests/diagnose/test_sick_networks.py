"""Networks with a known fault: the fault is found first, explains the rest, is cured, and the cure can be undone."""

import torch
from torch import nn

from evenflow.diagnose import check, treat_
from evenflow.diagnose.naming import called


def state_of(model):
    """Everything that a treatment could change, by identity and by bits."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {
        "modules": [(name, id(module), module.training) for name, module in model.named_modules()],
        "tensors": [(name, id(tensor), tensor.detach().numpy().tobytes()) for name, tensor in named],
        "frozen": [(name, parameter.requires_grad) for name, parameter in model.named_parameters()],
        "keys": list(model.state_dict()),
    }


def root(finding, findings):
    while finding.cause is not None:
        finding = next(other for other in findings if other.rule == finding.cause)
    return finding.rule


def test_the_fault_comes_first_and_explains_the_rest(sick):
    diagnosis = check(sick.build(), sick.batch())
    first, *others = diagnosis.findings
    assert not diagnosis.ok
    assert (first.rule, first.layer, first.cause) == (sick.rule, sick.layer, None)
    assert set(sick.consequences) <= {finding.rule for finding in others}
    assert {root(finding, diagnosis.findings) for finding in others} <= {sick.rule}


def test_the_treatment_cures_it_and_can_be_undone(sick):
    model = sick.build()
    before = state_of(model)
    treatment = treat_(model, check(model, sick.batch()))
    if sick.curable:
        assert treatment.kept, treatment.reason
        assert treatment.after.ok, treatment.after.findings
        assert state_of(model) != before
        treatment.undo()
    assert state_of(model) == before


def test_advice_on_the_data_cures_what_no_treatment_can(zoo):
    for name in ("bytes-tanh", "bytes-relu"):
        torch.manual_seed(0)
        case = zoo.SICK[name]
        model = case.build()
        treatment = treat_(model, check(model, case.batch()))
        assert not treatment.kept
        assert [remedy.kind for remedy in treatment.advice] == ["standardize-input"]
        inputs, targets = case.batch()
        (advice,) = treatment.advice
        assert check(model, ((inputs - advice.mean) / advice.std, targets)).ok


def test_a_recurrence_that_explodes_is_advised_to_clip(zoo):
    torch.manual_seed(0)
    case = zoo.SICK["exploding-rnn"]
    model = case.build()
    treatment = treat_(model, check(model, case.batch()))
    assert [remedy.kind for remedy in treatment.advice] == ["clip-grad-norm"]
    assert treatment.reason == "nothing to apply to the model itself; follow the advice"


def test_a_mild_recurrence_is_not_called_exploding(zoo):
    """At radius 1.5 the slope of tanh holds the gradient back: over 60 steps it grows less than 30 times."""
    torch.manual_seed(0)
    assert check(zoo.ExplodingRecurrent(radius=1.5), zoo.sequences()).ok


def test_only_the_bad_layer_is_drawn_again(zoo):
    for name, drawn in [
        ("one-layer-x100", "10"),
        ("one-layer-x0.001", "10"),
        ("relu-10-dead", "8"),
        ("head-x100", "8"),
    ]:
        torch.manual_seed(0)
        model = zoo.SICK[name].build()
        (remedy,) = check(model, zoo.SICK[name].batch()).prescription.remedies
        assert [draw.parameter for draw in remedy.draws] == [f"{drawn}.weight"]


def test_a_layer_that_dies_in_training_is_named_at_its_own_place(zoo):
    for place in (1, 4, 8):
        torch.manual_seed(0)
        model = zoo.with_bias(zoo.mlp(10, weight_=zoo.he_), place, -50.0)
        first = check(model, zoo.digit_vectors()).findings[0]
        assert (first.rule, first.layer, first.layers) == ("dead", f"{2 * place}", (f"{2 * place}",))


def test_an_operation_that_breaks_is_not_blamed_on_weights(zoo):
    class TakesLogarithms(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.second(torch.log(self.first(x)))

    torch.manual_seed(0)
    diagnosis = check(TakesLogarithms(), zoo.digit_vectors())
    assert [(finding.rule, finding.layer) for finding in diagnosis.findings] == [("non-finite", "second")]
    assert "all layers before it give finite outputs" in diagnosis.findings[0].explanation
    assert not diagnosis.prescription


def test_inputs_of_zeros_are_the_cause_and_no_weight_is_touched(zoo):
    torch.manual_seed(0)
    diagnosis = check(zoo.mlp(10, weight_=zoo.he_), (torch.zeros(32, 64), torch.arange(32) % 10))
    assert diagnosis.findings[0].rule == "input-scale"
    assert not diagnosis.prescription


def test_every_sentence_reads_as_one(sick):
    diagnosis = check(sick.build(), sick.batch())
    for finding in diagnosis.findings:
        for text in (finding.explanation, finding.remedy):
            assert text[0].isupper() or text[0].isdigit()
            assert text.endswith(".")
            assert "  " not in text
            assert len(text) < 300
        if finding.layer in {layer.name for layer in diagnosis.layers}:
            named = called(finding.layer), f"{finding.layer}.weight"
            assert any(name in finding.explanation for name in named) or finding.rule == "loss-at-start"
