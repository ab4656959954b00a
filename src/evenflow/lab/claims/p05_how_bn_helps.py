"""P5: batch normalisation makes the loss smoother along the gradient, and covariate shift is not what it takes away."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.lab import (
    Budget,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Trial,
    Verdict,
    grid,
    judge,
    paired_check,
    ratio_check,
    steps_check,
)
from evenflow.lab.measures import along_gradient, covariate_shift
from evenflow.lab.training import batch_order, cnn, initialise_, load_split, mlp
from evenflow.lab.training.recipe import Run
from evenflow.lab.verdict import Check
from evenflow.norm import BatchNorm1d, BatchNorm2d

ID = "P5"
TITLE = "How batch normalisation helps"
STATEMENT = (
    "Batch normalisation makes the loss and its gradient change less along the gradient; it does not reduce internal "
    "covariate shift, and helps as much when noise behind it makes the distributions move."
)
SOURCE = "Santurkar et al. 2018, How does batch normalization help optimization?, sections 2 and 3, figures 2 to 4"
PREDICTION = Prediction(
    "A linear network of 25 layers trained by full-batch descent on Gaussian data, and a small VGG on images, with and "
    "without BatchNorm, at the same learning rate. Over training, the range of the loss and the range of the "
    "gradient's change over half to four steps along the gradient are smaller with BatchNorm. The gradients of a layer "
    "before and after the layers below it made their step are no better aligned with BatchNorm: their cosine is not "
    "higher. A VGG with BatchNorm and noise of a random mean and variance after it, drawn anew at each step, has "
    "inputs that move more from step to step than a VGG without either, and reaches half of a guess's loss in at most "
    "1.5 times as many steps as with BatchNorm alone.",
    linear_loss=(None, 1),
    linear_gradient=(None, 1),
    vgg_loss=(None, 1),
    vgg_gradient=(None, 1),
    linear_shift=(None, 0),
    vgg_shift=(None, 0),
    noise_moves=(1, None),
    noisy=(None, 1.5),
)

LAYERS, WIDTH, SAMPLES, OUTPUTS = 25, 20, 128, 10
BATCH, TARGET = 64, 1.15
RATES = {"linear": 0.01, "vgg": 0.1}
STEPS = {"linear": (30, 120, 2000), "vgg": (72, 120, 2000)}
VARIANTS = {"linear": ("plain", "bn"), "vgg": ("plain", "bn", "noisy")}
FACTORS = (0.5, 1.0, 2.0, 4.0)
# The first layer, and those in whose gradients the shift is measured.
SHIFTED = {"linear": ("linear1", "linear9", "linear17"), "vgg": ("conv1", "conv3", "conv5")}
# The noise of the paper: ranges of means and standard deviations over steps, and spreads over samples.
MEANS, DEVIATIONS, SPREAD = 0.5, 1.25, 0.1

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class NoisyBatchNorm(BatchNorm2d):
    """Batch normalisation whose outputs get, at each training step, another mean and another variance.

    Each channel draws a mean from U(-0.5, 0.5) and a standard deviation from U(1, 1.25) at each step, and each sample
    draws its own around them.

    References:
        Santurkar et al. 2018, appendix A.
    """

    def forward(self, *args: Any, **options: Any) -> Tensor:
        """Normalise, then scale and shift by the noise."""
        normal: Tensor = super().forward(*args, **options)
        if not self.training:
            return normal
        channels = torch.ones(1, normal.shape[1], 1, 1)
        mean = torch.empty_like(channels).uniform_(-MEANS, MEANS)
        deviation = torch.empty_like(channels).uniform_(1, DEVIATIONS)
        each = torch.ones(len(normal), normal.shape[1], 1, 1)
        shift = mean + torch.empty_like(each).uniform_(-SPREAD, SPREAD)
        return normal * (deviation + SPREAD * torch.randn_like(each)) + shift


def design(budget: Budget) -> list[Trial]:
    """Two networks, with and without batch normalisation, and with noise after it."""
    seeds, data = budget.seeds(8, 16, 60), budget.data or "digits"
    return [
        trial
        for kind, variants in VARIANTS.items()
        for trial in grid(
            seeds,
            network=kind,
            variant=variants,
            steps=budget.pick(*STEPS[kind]),
            points=budget.pick(3, 6, 20),
            data=data,
        )
    ]


def measure(trial: Trial) -> Measurement:
    """Train, and look along the gradient and at covariate shift on the way."""
    model, batches, loss_fn = _linear(trial) if trial["network"] == "linear" else _vgg(trial)
    rate, looked = RATES[trial["network"]], _looked(trial["steps"], trial["points"])
    losses, walks, cosines, movement = list[float](), list[tuple[float, float]](), list[float](), _Movement(model)
    for step, batch in enumerate(batches):
        if step in looked and trial["variant"] != "noisy":
            walk = along_gradient(model, batch, loss_fn, [factor * rate for factor in FACTORS])
            walks.append((walk.loss_range, walk.gradient_range))
            cosines.append(_alignment(model, batch, loss_fn, rate, SHIFTED[trial["network"]]))
        losses.append(descend_(model, batch, loss_fn, rate))
    run = Run(tuple(losses), (), ())
    metrics = {
        "loss_range": _geometric([loss for loss, _ in walks]),
        "gradient_range": _geometric([gradient for _, gradient in walks]),
        "cosine": fmean(cosines) if cosines else math.nan,
        "moves": movement.mean(),
        "steps": run.steps_to(TARGET),
        "final_loss": run.final,
    }
    curves = {
        "step": [float(step) for step in range(1, len(losses) + 1)],
        "loss": run.smoothed,
        "looked": [float(step) for step in sorted(looked)][: len(walks)],
        "loss_range": [loss for loss, _ in walks],
        "cosine": cosines,
    }
    return Measurement(metrics, curves)


def _linear(trial: Trial) -> tuple[nn.Module, list[Batch], Loss]:
    """A deep linear network, and Gaussian data whose targets are a linear map of it: one batch, over and over."""
    drawn = torch.Generator().manual_seed(trial.seed)
    inputs = torch.randn(SAMPLES, WIDTH, generator=drawn)
    targets = inputs @ torch.randn(WIDTH, OUTPUTS, generator=drawn) / math.sqrt(WIDTH)
    norm = BatchNorm1d if trial["variant"] == "bn" else None
    model = mlp([WIDTH] * LAYERS + [OUTPUTS], "identity", norm)
    return initialise_(model, "glorot_normal", trial.seed), [(inputs, targets)] * trial["steps"], F.mse_loss


def _vgg(trial: Trial) -> tuple[nn.Module, list[Batch], Loss]:
    """Five convolutions, and shuffled batches of images."""
    data = load_split(trial["data"])
    side = math.isqrt(data.inputs.shape[1])
    images = F.adaptive_avg_pool2d(data.inputs.view(-1, 1, side, side), 8)
    norm = {"plain": None, "bn": BatchNorm2d, "noisy": NoisyBatchNorm}[trial["variant"]]
    model = cnn([1, 8, 8, 16, 16, 16], "relu", int(data.targets.max()) + 1, norm, (1, 2, 1, 1, 2))
    order = batch_order(len(images), BATCH, trial["steps"], trial.seed)
    batches = [(images[rows], data.targets[rows]) for rows in order]
    return initialise_(model, "he_normal", trial.seed), batches, F.cross_entropy


def descend_(model: nn.Module, batch: Batch, loss_fn: Loss, rate: float) -> float:
    """Make one step of gradient descent, in place, and return the loss before it."""
    loss = loss_fn(model(batch[0]), batch[1])
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate)
    return loss.item()


def _alignment(model: nn.Module, batch: Batch, loss_fn: Loss, rate: float, layers: tuple[str, ...]) -> float:
    """The mean cosine of the gradients of some layers before and after the layers below made their step."""
    found = covariate_shift(model, batch, lambda twin: descend_(twin, batch, loss_fn, rate), loss_fn, layers)
    return fmean(shift.gradient_cosine for shift in found[1:])


class _Movement:
    """How far the means of what the last convolution gets move from step to step, in standard deviations."""

    def __init__(self, model: nn.Module) -> None:
        self.found: list[float] = []
        self.before: Tensor | None = None
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        if convolutions:
            convolutions[-1].register_forward_pre_hook(self._look)

    @torch.no_grad()
    def _look(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean, deviation = inputs[0].mean((0, 2, 3)), inputs[0].std((0, 2, 3))
        alive = deviation > 1e-6
        if self.before is not None and alive.any():
            self.found.append(float(((mean - self.before).abs() / deviation)[alive].mean()))
        self.before = mean

    def mean(self) -> float:
        return fmean(self.found) if self.found else math.nan


def _looked(steps: int, points: int) -> set[int]:
    """Steps that lie evenly over training, the first among them."""
    return {round(point * steps / points) for point in range(points)}


def _geometric(values: list[float]) -> float:
    return math.exp(fmean(math.log(max(value, 1e-30)) for value in values)) if values else math.nan


def verdict(results: Results) -> Verdict:
    """With beside without batch normalisation, and with noise after it."""
    checks = [*_smoothness(results), *_shift(results), *_noise(results)]
    estimates = {check.name: check.estimate for check in checks}
    return judge(
        checks,
        "With BatchNorm the range of the loss along the gradient is {linear_loss:.2g} (linear network) and "
        "{vgg_loss:.2g} (VGG) times that without, and the range of the gradient's change {linear_gradient:.2g} and "
        "{vgg_gradient:.2g} times. The cosine of a layer's gradients before and after the step below differs by "
        "{linear_shift:+.2f} and {vgg_shift:+.2f}. With noise after BatchNorm inputs move {noise_moves:.2g} times as "
        "far as without BatchNorm, and training takes {noisy:.2f} times as many steps as with BatchNorm alone.".format(
            **estimates
        ),
    )


def _pair(
    results: Results, kind: str, metric: str, first: str, second: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return results.pairs(metric, {"network": kind, "variant": first}, {"network": kind, "variant": second})


def _smoothness(results: Results) -> Iterator[Check]:
    for kind in VARIANTS:
        for name, told in (("loss", "range of the loss"), ("gradient", "range of the gradient's change")):
            pair = _pair(results, kind, f"{name}_range", "bn", "plain")
            effect = f"{told} along the gradient, with BatchNorm over without, {kind}"
            yield ratio_check(PREDICTION, f"{kind}_{name}", *pair, effect)


def _shift(results: Results) -> Iterator[Check]:
    for kind in VARIANTS:
        pair = _pair(results, kind, "cosine", "bn", "plain")
        effect = f"cosine of a layer's gradients before and after the step below, with BatchNorm less without, {kind}"
        yield paired_check(PREDICTION, f"{kind}_shift", *pair, effect)


def _noise(results: Results) -> Iterator[Check]:
    moves = _pair(results, "vgg", "moves", "noisy", "plain")
    effect = "how far inputs move in a step, noisy BatchNorm over none, VGG"
    yield ratio_check(PREDICTION, "noise_moves", *moves, effect)
    limit = next(iter(results.where(network="vgg"))).trial["steps"]
    steps = _pair(results, "vgg", "steps", "noisy", "bn")
    yield steps_check(
        PREDICTION, "noisy", *steps, limit, "steps to the target, noisy BatchNorm over BatchNorm alone, VGG"
    )


WORDS = {"plain": "none", "bn": "BatchNorm", "noisy": "BatchNorm, noise"}


def figure(results: Results) -> Figure:
    """Ranges over training, alignment, movement and loss."""
    kinds = results.by("network")
    ranges = [
        Panel(
            f"Loss along the gradient, {'VGG' if kind == 'vgg' else 'linear network'}",
            "step",
            "range of the loss",
            tuple(
                g.curve_line(WORDS[v], "looked", "loss_range") for v, g in group.by("variant").items() if v != "noisy"
            ),
            log_y=True,
        )
        for kind, group in kinds.items()
    ]
    shift = tuple(results.where(variant=v).line(WORDS[v], "network", "cosine") for v in ("plain", "bn"))
    moves = Panel(
        "Inputs of the last convolution move",
        "normalisation of the VGG",
        "movement in a step",
        (replace(kinds["vgg"].line("movement", "variant", "moves"), x=tuple(WORDS[v] for v in VARIANTS["vgg"])),),
        "bars",
        log_y=True,
    )
    curves = tuple(group.curve_line(WORDS[v], "step", "loss") for v, group in kinds["vgg"].by("variant").items())
    return Figure(
        "First two: how far the loss changes over half to four steps along the gradient, without BatchNorm (none) and "
        "with it; lower is smoother. Third: the cosine of a layer's gradient before and after the layers below it made "
        "their step; 1 is no covariate shift. "
        "Fourth and fifth: noise after BatchNorm makes the inputs of a layer move, and it trains all the same.",
        (
            *ranges,
            Panel("Covariate shift", "network", "cosine of the gradients", shift, "bars"),
            moves,
            Panel("VGG in training", "step", "training loss", curves, expected=((TARGET, "target"),)),
        ),
    )
