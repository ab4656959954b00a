"""The loss of an output: the caller's, the model's own, or the one that the targets suggest."""

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.errors import LossError, ModelError
from evenflow.probe import measure
from evenflow.probe.batch import parse_batch
from evenflow.probe.loss import loss_of

G = torch.Generator().manual_seed(0)
X = torch.randn(8, 6, generator=G)


def drawn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=G).to(dtype).requires_grad_()


def classes(*shape, high=3):
    return torch.randint(high, shape, generator=G)


def loss(output, targets=None, loss_fn=None, **kwargs):
    batch = parse_batch(({"x": X, **kwargs}, targets))
    value, record = loss_of(output, batch, loss_fn)
    assert value.shape == ()
    assert record.value == pytest.approx(value.item(), nan_ok=True)
    return value, record


# Cross-entropy


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_cross_entropy_of_classes(dtype):
    output, targets = drawn(8, 3), classes(8)
    value, record = loss(output, targets.to(dtype))
    assert record.kind == "cross-entropy"
    assert (record.chance, record.classes) == (math.log(3), 3)
    torch.testing.assert_close(value, F.cross_entropy(output, targets))


@pytest.mark.parametrize(
    ("shape", "target_shape", "classes_last"),
    [
        ((4, 3, 7), (4, 7), False),
        ((4, 3, 5, 6), (4, 5, 6), False),
        ((4, 7, 3), (4, 7), True),
        ((4, 5, 6, 3), (4, 5, 6), True),
        ((4, 3, 4), (4, 4), False),
    ],
)
def test_cross_entropy_of_classes_in_dimension_1_or_last(shape, target_shape, classes_last):
    output, targets = drawn(*shape), classes(*target_shape)
    value, record = loss(output, targets)
    assert record.classes == 3
    torch.testing.assert_close(value, F.cross_entropy(output.movedim(-1, 1) if classes_last else output, targets))


def test_classes_that_may_lie_in_either_dimension():
    with pytest.raises(
        LossError, match=r"classes of output \(4, 7, 7\) .* dimension 1 or in the last one; pass loss_fn"
    ):
        loss(drawn(4, 7, 7), classes(4, 7))


def test_ignored_targets_are_left_out():
    output, targets = drawn(8, 3), classes(8)
    targets[:5] = -100
    torch.testing.assert_close(loss(output, targets)[0], F.cross_entropy(output[5:], targets[5:]))


def test_targets_that_are_all_ignored():
    with pytest.raises(LossError, match=r"every target is -100.*at least one target"):
        loss(drawn(8, 3), torch.full((8,), -100))


@pytest.mark.parametrize(("low", "high"), [(1, 3), (-1, 2), (0, 9)])
def test_class_numbers_out_of_range(low, high):
    targets = torch.tensor([low, high, *classes(6).clamp(max(low, 0), 2).tolist()])
    with pytest.raises(LossError, match=rf"run from {low} to {high}.*3 outputs; classes are numbered from 0"):
        loss(drawn(8, 3), targets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_cross_entropy_of_other_dtypes(dtype):
    output = drawn(8, 3, dtype=dtype).detach().requires_grad_()
    value, _ = loss(output, classes(8))
    value.backward()
    assert value.dtype == torch.float32
    assert output.grad.dtype == dtype


# Mean squared error


@pytest.mark.parametrize("shape", [(8, 3), (8, 1), (8,), (8, 2, 4)])
def test_mean_squared_error_of_real_targets_of_the_same_shape(shape):
    output, targets = drawn(*shape), drawn(*shape).detach()
    value, record = loss(output, targets)
    assert (record.kind, record.chance, record.classes) == ("mean squared error", None, None)
    torch.testing.assert_close(value, F.mse_loss(output, targets))


@pytest.mark.parametrize("theirs", [torch.float16, torch.float64])
def test_mean_squared_error_of_mixed_dtypes(theirs):
    output = drawn(8, 3)
    loss(output, torch.zeros(8, 3, dtype=theirs))[0].backward()
    assert output.grad.dtype == torch.float32


# What cannot be guessed


@pytest.mark.parametrize(
    ("output", "targets"),
    [
        (drawn(8, 1), torch.zeros(8)),
        (drawn(8), torch.zeros(8, 1)),
        (drawn(8, 3), torch.zeros(8, 2)),
        (drawn(8, 3), torch.zeros(8, 3, dtype=torch.complex64)),
        (drawn(8, 1), classes(8)),
        (drawn(8), classes(8)),
        (drawn(8, 3), classes(7)),
        (drawn(8, 3), classes(8, 3)),
        (drawn(8, 3), torch.zeros(8, 3, dtype=torch.bool)),
        (drawn(8, 3), torch.zeros(8, dtype=torch.bool)),
        (drawn(8, 3, dtype=torch.complex64), torch.zeros(8, 3)),
    ],
)
def test_no_loss_can_be_guessed(output, targets):
    shapes = rf"output \({output.shape[0]},.* and targets \({targets.shape[0]},.*{str(targets.dtype)[6:]}"
    with pytest.raises(LossError, match=rf"{shapes}: integer targets .*pass loss_fn=.*BCEWithLogitsLoss"):
        loss(output, targets)


@pytest.mark.parametrize("targets", [[0, 1], {"boxes": classes(3)}, 3, "cat"])
def test_targets_that_are_no_tensor(targets):
    with pytest.raises(LossError, match=rf"targets of type {type(targets).__name__} suggest no loss; pass loss_fn="):
        loss(drawn(8, 3), targets)


def test_a_guessed_loss_that_raises():
    with pytest.raises(LossError, match=r"output and targets raised .*pass loss_fn=") as caught:
        loss(drawn(8, 3), torch.zeros(8, 3, device="meta"))
    assert caught.value.__cause__ is not None


# The model's own


class Own:
    def __init__(self, loss, logits=None):
        self.loss, self.logits = loss, logits


@dataclass
class OwnDataclass:
    loss: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize("wrap", [lambda own, logits: {"loss": own, "logits": logits}, Own, OwnDataclass])
def test_the_models_own_loss_is_used(wrap):
    logits, labels = drawn(8, 3), classes(8)
    value, record = loss(wrap(F.cross_entropy(logits, labels), logits), labels=labels)
    assert record.kind == "model"
    assert (record.chance, record.classes) == (math.log(3), 3)
    torch.testing.assert_close(value, F.cross_entropy(logits, labels))


@pytest.mark.parametrize("labels", [None, torch.zeros(8, 3), classes(7), classes(8, 3)])
def test_chance_is_unknown_without_class_labels_beside_the_logits(labels):
    _, record = loss({"loss": drawn(), "logits": drawn(8, 3)}, labels=labels)
    assert (record.kind, record.chance, record.classes) == ("model", None, None)


def test_a_loss_for_each_sample_is_averaged():
    each = drawn(8)
    torch.testing.assert_close(loss({"loss": each})[0], each.mean())


def test_targets_do_not_replace_the_models_own_loss_but_a_function_does():
    output = {"loss": drawn(), "logits": drawn(8, 3)}
    assert loss(output, classes(8))[1].kind == "model"
    assert loss(output, None, lambda out: out["logits"].mean())[1].kind == "given"


@pytest.mark.parametrize("own", [None, 3.0, classes(1)[0]])
def test_a_loss_that_is_none_falls_back_on_the_logits(own):
    assert loss({"loss": own, "logits": drawn(8, 3)}, classes(8))[1].kind == "cross-entropy"


# No targets


def test_without_targets_the_outputs_are_projected_on_a_fixed_direction():
    output = drawn(8, 3)
    value, record = loss(output)
    assert (record.kind, record.chance) == ("projection", None)
    (direction,) = torch.autograd.grad(value, output)
    assert loss(output)[0] == value
    assert direction.square().sum().item() == pytest.approx(0.5, abs=0.2)
    assert direction.unique().numel() == 24


@pytest.mark.parametrize("width", [8, 1000, 8191, 8192])
def test_the_direction_does_not_repeat_from_sample_to_sample(width):
    output = torch.zeros(3, width, requires_grad=True)
    (direction,) = torch.autograd.grad(loss(output)[0], output)
    assert not torch.equal(direction[0], direction[1]) or width == 8191
    assert direction.isfinite().all()


def test_a_complex_output_is_projected_to_a_real_number():
    assert not loss(drawn(8, 3, dtype=torch.complex64))[0].is_complex()


def test_an_empty_output():
    with pytest.raises(ModelError, match=r"a tensor of shape \(8, 0\) float32, which holds no floating-point value"):
        loss(torch.zeros(8, 0))


# The caller's


@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(), F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_a_given_cross_entropy_knows_its_chance(loss_fn):
    _, record = loss(drawn(8, 3), classes(8), loss_fn)
    assert (record.kind, record.chance, record.classes) == ("given", math.log(3), 3)


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(weight=torch.ones(3)),
        nn.CrossEntropyLoss(reduction="sum"),
        lambda output, targets: F.cross_entropy(output, targets) / 2,
    ],
)
def test_another_given_loss_does_not(loss_fn):
    _, record = loss(drawn(8, 3), classes(8), loss_fn)
    assert (record.kind, record.chance, record.classes) == ("given", None, None)


def test_a_given_loss_without_targets_gets_the_output_alone():
    output = drawn(8, 3)
    torch.testing.assert_close(loss(output, None, torch.mean)[0], output.mean())


def test_a_given_loss_of_one_element_is_a_scalar():
    assert loss(drawn(8, 3), None, lambda output: output.mean().reshape(1, 1))[0].shape == ()


def test_the_targets_of_the_caller_are_copied():
    targets = classes(8)
    before = targets.clone()
    loss(drawn(8, 3), targets, lambda output, t: F.cross_entropy(output, t.fill_(0)))
    assert torch.equal(targets, before)


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        ("mse", r"loss_fn must be callable as loss_fn\(output, targets\); got str"),
        (lambda output, targets: 1.0, r"scalar floating-point tensor.*got float$"),
        (lambda output, targets: None, r"got NoneType$"),
        (lambda output, targets: output, r"got a tensor of shape \(8, 3\) float32; average it with .mean\(\)"),
        (lambda output, targets: (output.argmax(1) == targets).sum(), r"got a tensor of shape \(\) int64$"),
        (lambda output, targets: output.sum() * 1j, r"got a tensor of shape \(\) complex64$"),
        (lambda output: output.sum(), r"loss_fn raised TypeError: .*called as loss_fn\(output, targets\)"),
        (lambda output, targets: output.nothing, r"loss_fn raised AttributeError"),
        (nn.NLLLoss(ignore_index=3.5), r"loss_fn raised TypeError"),
    ],
)
def test_given_losses_that_cannot_be_used(loss_fn, message):
    with pytest.raises(LossError, match=message):
        loss(drawn(8, 3), classes(8), loss_fn)


def test_a_loss_that_measures_accuracy_has_no_gradient():
    def accuracy(output, targets):
        return (output.argmax(1) == targets).float().mean()

    with pytest.raises(LossError, match=r"does not depend on any trainable parameter"):
        measure(nn.Linear(6, 3), (X, classes(8)), accuracy)


def test_a_model_of_the_hugging_face_kind():
    class Output(dict):
        def __getattr__(self, name):
            return self[name]

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

        def forward(self, input_ids=None, labels=None):
            logits = self.head(self.embed(input_ids).mean(1))
            return Output(loss=None if labels is None else F.cross_entropy(logits, labels), logits=logits)

    model = Classifier()
    ids, labels = classes(8, 5, high=9), classes(8)
    own = measure(model, {"input_ids": ids, "labels": labels})
    guessed = measure(model, ({"input_ids": ids}, labels))
    assert (own.loss.kind, guessed.loss.kind) == ("model", "cross-entropy")
    assert own.loss.value == pytest.approx(guessed.loss.value)
    assert own.loss.classes == 3
    assert own.layers == guessed.layers
    assert measure(model, {"input_ids": ids}).loss.kind == "projection"
