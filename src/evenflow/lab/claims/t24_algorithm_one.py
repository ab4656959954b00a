"""T24: the layer computes Algorithm 1."""

import numpy as np
import torch
from torch import Tensor

from evenflow.lab import (
    Budget,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Series,
    Trial,
    Verdict,
    exact_check,
    grid,
    judge,
)
from evenflow.norm import BatchNorm1d

ID = "T24"
TITLE = "Algorithm 1 is what the layer computes"
STATEMENT = (
    "Batch normalisation gives outputs of mean beta and variance gamma^2 var / (var + eps); it does not see the "
    "scale of the "
    "weights below it, BN(a W u) = BN(W u); and the gradient of a W is 1/a of that of W."
)
SOURCE = "notes: Algorithm 1; Ioffe & Szegedy 2015, Algorithm 1 and section 3.3"
PREDICTION = Prediction(
    "All four hold up to rounding. In float32 with eps = 1e-5 and scales a of 0.1 to 100: relative errors below 1e-4 "
    "once "
    "eps is counted (it is no part of the invariances, so the weights have variances far above it).",
    mean_error=(0, 1e-4),
    variance_error=(0, 1e-4),
    output_error=(0, 1e-3),
    gradient_error=(0, 1e-3),
)

SAMPLES, FEATURES, UNITS = 256, 64, 32
SCALES = (0.1, 0.5, 2.0, 10.0, 100.0)
WIDE = 30.0  # standard deviation of W u, so that eps / var is 1e-8


def design(budget: Budget) -> list[Trial]:
    """Five scales of the weights, with random data, gamma and beta."""
    return grid(budget.seeds(5, 20, 100), scale=SCALES)


def measure(trial: Trial) -> Measurement:
    """Compare the layer's output and gradient with what Algorithm 1 says about them."""
    drawn = torch.Generator().manual_seed(trial.seed)
    u = torch.randn(SAMPLES, FEATURES, generator=drawn)
    w = torch.randn(UNITS, FEATURES, generator=drawn) * WIDE / FEATURES**0.5
    gamma, beta = torch.rand(UNITS, generator=drawn) + 0.5, torch.randn(UNITS, generator=drawn)
    upstream = torch.randn(SAMPLES, UNITS, generator=drawn)
    a = trial["scale"]
    output, gradient, layer = _pass(u, w, gamma, beta, upstream)
    scaled_output, scaled_gradient, _ = _pass(u, a * w, gamma, beta, upstream)
    variance = (u @ w.T).double().var(0, correction=0)
    wanted = gamma.double() ** 2 * variance / (variance + layer.eps)
    return Measurement(
        {
            "mean_error": _error(output.double().mean(0), beta.double()),
            "variance_error": _error(output.double().var(0, correction=0), wanted),
            "output_error": _error(scaled_output, output),
            "gradient_error": _error(scaled_gradient * a, gradient),
            "gradient_ratio": float(scaled_gradient.norm() / gradient.norm()),
        }
    )


def _pass(u: Tensor, w: Tensor, gamma: Tensor, beta: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, BatchNorm1d]:
    layer, weight = BatchNorm1d(UNITS), w.clone().requires_grad_()
    with torch.no_grad():
        layer.weight.copy_(gamma)
        layer.bias.copy_(beta)
    output = layer(u @ weight.T)
    (gradient,) = torch.autograd.grad((output * upstream).sum(), weight)
    return output.detach(), gradient, layer


def _error(found: Tensor, wanted: Tensor) -> float:
    """The largest error, relative to the size of what is wanted."""
    return float((found - wanted).abs().max() / wanted.square().mean().sqrt())


def verdict(results: Results) -> Verdict:
    """Identities: the largest error counts."""
    words = {
        "mean_error": "error of the output's mean (beta)",
        "variance_error": "error of its variance (gamma^2 var / (var + eps))",
        "output_error": "difference of BN(a W u) and BN(W u)",
        "gradient_error": "difference of a times the gradient of a W and that of W",
    }
    checks = [exact_check(PREDICTION, name, results.values(name), f"{told}, relative") for name, told in words.items()]
    worst = max(results.values(name).max() for name in words)
    return judge(checks, f"All four hold: the largest relative error of any is {worst:.1e}, in float32.")


def figure(results: Results) -> Figure:
    """The gradient's size against the scale, beside 1/a."""
    ratios = results.line("measured", "scale", "gradient_ratio")
    scales = np.array(sorted(results.by("scale")))
    law = Series("1 / a", tuple(map(float, scales)), tuple(map(float, 1 / scales)))
    panel = Panel(
        title="Larger weights, smaller gradients",
        x="scale a of the weights",
        y="gradient of a W over that of W",
        series=(ratios, law),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "The gradient with respect to a W is 1/a of that with respect to W: the line and the dots agree.", (panel,)
    )
