"""The record beside a twin that keeps every tensor and its gradient."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.probe import measure
from evenflow.probe.moments import moments

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(16, 6, generator=GENERATOR), torch.randint(3, (16,), generator=GENERATOR)


def close(measured, expected):
    """Moments that agree up to float32 rounding, histograms aside."""
    names = ("mean", "std", "rms", "low", "high", "spread", "norm")
    scale = max(abs(expected.low), abs(expected.high))
    return (measured.shape, measured.nonfinite) == (expected.shape, expected.nonfinite) and all(
        getattr(measured, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-6 * scale) for name in names
    )


class Deep(nn.Module):
    """Pre-activations in a list, so that a twin can retain their gradients."""

    def __init__(self):
        super().__init__()
        self.stack = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])
        self.head = nn.Linear(6, 3)
        self.kept = None

    def forward(self, x):
        kept = []
        for layer in self.stack:
            kept.append(layer(x))
            x = x + torch.tanh(kept[-1])
        kept.append(self.head(x))
        self.kept = kept
        return kept[-1]


def test_outputs_and_gradients_are_those_that_retain_grad_keeps():
    model = Deep()
    record = measure(model, (X, Y))
    assert model.kept is None
    loss = F.cross_entropy(model(X), Y)
    for output in model.kept:
        output.retain_grad()
    loss.backward()
    assert len(record.layers) == 5
    for layer, output in zip(record.layers, model.kept, strict=True):
        assert layer.output == moments(output, histogram=True)
        assert close(layer.gradient, moments(output.grad))
    assert record.loss.value == pytest.approx(loss.item())
    assert record.output == record.layers[-1].output


def test_parameters_and_their_gradients():
    model = Deep()
    record = measure(model, (X, Y))
    F.cross_entropy(model(X), Y).backward()
    found = {p.name: p for layer in record.layers for p in layer.parameters}
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert found[name].norm == pytest.approx(parameter.norm().item(), rel=1e-5)
        assert found[name].grad_norm == pytest.approx(parameter.grad.norm().item(), rel=1e-5)
        assert found[name].shape == tuple(parameter.shape)
    assert [layer.weight.name for layer in record.layers] == [f"stack.{i}.weight" for i in range(4)] + ["head.weight"]


def test_the_gradient_of_an_output_that_is_read_twice_is_the_sum():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            self.out = self.fc(x)
            return torch.sin(self.out) + 2 * self.out

    model = Fork()
    layer = measure(model, (X, Y)).layers[0]
    loss = F.cross_entropy(model(X), Y)
    (expected,) = torch.autograd.grad(loss, model.out)
    assert close(layer.gradient, moments(expected))


def test_the_gradient_of_an_output_that_is_changed_in_place_is_that_before_the_change():
    class Changed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            out = self.fc(x)
            out *= 5
            return out

    model = Changed()
    layer = measure(model, (X, Y)).layers[0]
    out = model.fc(X)
    (expected,) = torch.autograd.grad(F.cross_entropy(5 * out, Y), out)
    assert close(layer.gradient, moments(expected))
    assert layer.output == moments(out, histogram=True)


def test_a_user_hook_that_scales_the_gradient_of_a_parameter_counts():
    model = nn.Sequential(nn.Linear(6, 3))
    plain = measure(model, (X, Y)).layers[0].weight.grad_norm
    model[0].weight.register_hook(lambda gradient: gradient / 2)
    assert measure(model, (X, Y)).layers[0].weight.grad_norm == pytest.approx(plain / 2)


def test_batch_norm_is_measured_in_training_mode_even_when_the_model_is_not_in_it():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).eval()
    model[1].running_mean.fill_(100)
    record = measure(model, (X, Y))
    assert not record.was_training
    assert not model.training
    assert record.layers[1].output.mean == pytest.approx(0, abs=1e-5)
    assert measure(model.train(), (X, Y)).was_training


def test_a_part_that_is_kept_in_evaluation_mode_stays_there():
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    model[0].eval()
    model[0].running_mean.fill_(100)
    assert measure(model, (X, Y)).layers[0].output.mean == pytest.approx(-100, abs=1)


def test_the_loss_is_that_without_dropout():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    record = measure(model, (X, Y))
    assert record.loss.value == pytest.approx(F.cross_entropy(model.eval()(X), Y).item())


def test_inputs_are_recorded_as_they_came():
    class Clearing(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x.mul_(0))

    x = X.clone()
    record = measure(Clearing(), (x, Y))
    assert torch.equal(x, X)
    (found,) = record.inputs
    assert found.moments == moments(X, histogram=True)
    assert record.layers[0].input.high == 0


def test_the_features_of_a_two_dimensional_input():
    x = torch.stack([torch.zeros(8), torch.arange(8.0), 10 * torch.arange(8.0), torch.arange(8.0)], dim=1)
    (found,) = measure(nn.Linear(4, 2), x).inputs
    one = torch.arange(8.0).std(correction=0).item()
    assert (found.feature_median, found.feature_high) == (pytest.approx(one), pytest.approx(10 * one))


@pytest.mark.parametrize(
    "x", [torch.randn(1, 4), torch.zeros(5, 4), torch.full((5, 4), math.nan), torch.randn(5, 3, 4)]
)
def test_inputs_without_features_that_vary(x):
    (found,) = measure(nn.Linear(4, 2), x).inputs
    assert (found.feature_median, found.feature_high) == (None, None)


def test_integer_inputs_are_no_signal_and_several_inputs_are_named():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.fc = nn.Embedding(9, 6), nn.Linear(6, 3)

        def forward(self, tokens, pair, *, scale):
            return self.fc(self.embed(tokens) * pair[0] + pair[1]) * scale

    model = Several()
    tokens, pair = torch.randint(9, (4,)), [torch.randn(4, 6), torch.randn(4, 6)]
    record = measure(model, ({"tokens": tokens, "pair": pair, "scale": torch.ones(4, 1)}, None))
    assert [found.name for found in record.inputs] == ["pair.0", "pair.1", "scale"]
    assert record.samples == 4


# Not finite


def test_nan_in_the_input_is_not_blamed_on_the_running_statistics():
    x = X.clone()
    x[0, 0] = math.nan
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    record = measure(model, (x, Y))
    assert record.nonfinite_parameters == ()
    assert record.inputs[0].moments.nonfinite == 1
    assert math.isnan(record.loss.value)
    assert model[0].running_mean.isfinite().all()


def test_parameters_and_buffers_that_are_not_finite_are_named():
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    with torch.no_grad():
        model[1].bias[0] = math.inf
    model[0].running_var[1] = math.nan
    record = measure(model, (X, Y))
    assert record.nonfinite_parameters == ("1.bias", "0.running_var")
    assert record.layers[1].parameters[1].nonfinite == 1
    assert record.layers[1].output.nonfinite == 16


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_that_leave_the_range_of_float32_squares(scale):
    record = measure(nn.Linear(6, 3, bias=False), scale * X)
    assert record.layers[0].input.rms == pytest.approx(scale * moments(X).rms, rel=1e-5)
    assert record.layers[0].output.rms > 0


# Small shapes


def test_one_sample():
    record = measure(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (X[:1], Y[:1]))
    assert record.samples == 1
    assert record.layers[0].output.spread is None
    assert record.layers[0].gradient.rms > 0


def test_scalar_regression():
    record = measure(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)), (X, X[:, :1]))
    assert record.loss.kind == "mean squared error"
    assert record.output.shape == (16, 1)
    assert record.layers[1].weight.rows == 1


def test_a_zero_dimensional_input_is_one_sample():
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Linear(1, 1)

        def forward(self, x):
            return self.slope(x.reshape(1))

    assert measure(Line(), torch.tensor(2.0)).samples == 1


# Dtypes and contexts


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_dtypes(dtype):
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)).to(dtype)
    record = measure(model, (X.to(dtype), Y))
    expected = measure(model.float(), (X.to(dtype).float(), Y))
    for found, twin in zip(record.layers, expected.layers, strict=True):
        assert found.output.rms == pytest.approx(twin.output.rms, rel=0.02)
        assert found.gradient.rms == pytest.approx(twin.gradient.rms, rel=0.05)
    assert record.layers[0].weight.distinct_rows == 8


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_outputs_with_real_targets_of_full_precision(dtype):
    record = measure(nn.Linear(6, 3).to(dtype), (X.to(dtype), torch.zeros(16, 3)))
    assert record.loss.kind == "mean squared error"
    assert record.layers[0].weight.grad_norm > 0


def test_complex_parameters():
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(torch.fft.irfft(torch.fft.rfft(x) @ self.w, n=6))

    record = measure(Fourier(), (X, Y))
    w, head = record.layers
    assert (w.name, w.fans, w.output.shape) == ("w", (4, 4), (16, 4))
    assert w.gradient.rms > 0
    assert w.weight.grad_norm > 0
    assert head.sources == (0,)


def test_a_complex_output_is_projected():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(6, 3, dtype=torch.complex64))

        def forward(self, x):
            return x.to(torch.complex64) @ self.w

    assert measure(Complex(), X).loss.kind == "projection"


def test_under_the_callers_autocast():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    expected = measure(model, (X, Y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(X).dtype == torch.bfloat16
        record = measure(model, (X, Y))
    # The first pre-activations are those of bfloat16, to the last bit.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert record.layers[0].output == moments(model[0](X), histogram=True)
    for found, twin in zip(record.layers, expected.layers, strict=True):
        assert found.gradient.rms == pytest.approx(twin.gradient.rms, rel=0.1)
    assert record.layers[0].weight.distinct_rows == 8


def test_a_model_that_autocasts_inside():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = torch.relu(self.a(x))
            return self.b(hidden.float())

    a, b = measure(Inside(), (X, Y)).layers
    assert a.activation.name == "relu"
    assert b.sources == (0,)
    assert a.gradient.rms > 0


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_of_the_caller_do_not_matter(context):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    expected = measure(model, (X, Y))
    with context():
        record = measure(model, (X.clone(), Y.clone()))
        assert not torch.is_grad_enabled()
    assert record == expected
    assert model[1].num_batches_tracked == 0
    F.cross_entropy(model(X), Y).backward()


def test_the_same_model_and_batch_give_the_same_record():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    assert measure(model, (X, Y)) == measure(model, (X, Y))


def test_a_record_is_a_dictionary_of_plain_values():
    found = measure(nn.Linear(6, 3), (X, Y)).to_dict()
    assert found["model"] == "Linear"
    assert found["layers"][0]["output"]["shape"] == (16, 3)
