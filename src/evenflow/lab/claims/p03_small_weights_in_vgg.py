"""P3: with weights of standard deviation 0.01, VGG-B's gradients shrink by the factor that He et al. computed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from evenflow import init
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
    grid,
    judge,
    mean_check,
)
from evenflow.lab.training import load_split
from evenflow.random import Stream

ID = "P3"
TITLE = "Small weights in VGG-B"
STATEMENT = (
    "With weights of standard deviation 0.01, the standard deviation of VGG-B's gradient is 1/17,000 at the second "
    "convolution of what it is at the tenth; with He's weights it stays."
)
SOURCE = "He et al. 2015, Delving deep into rectifiers, section 2.2"
PREDICTION = Prediction(
    "The standard deviation of the gradient goes back through a 3 by 3 convolution of d channels, and its ReLU, with "
    "the factor 0.01 sqrt(9 d / 2): from the output of the tenth convolution to the input of the second "
    "1 / (5.9 x 4.2^2 x 2.9^2 x 2.1^4), which is 1/17,000, or -4.23 on a scale of log10 (within 0.1). With He's "
    "weights of variance 2 / (9 d) the factor is 1, or 0 (within 0.1).",
    small=(-4.33, -4.13),
    he=(-0.1, 0.1),
)

STD, SIZE = 0.01, 8
CHANNELS = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512)


def design(budget: Budget) -> list[Trial]:
    """Weights of 0.01 and He's, on the same draws."""
    return grid(
        budget.seeds(10, 16, 60),
        weights=("small", "he"),
        samples=budget.pick(2, 4, 16),
        data=budget.data or "digits",
    )


def measure(trial: Trial) -> Measurement:
    """The standard deviation of the loss gradient with respect to what every convolution and its ReLU give."""
    images, targets, classes = _batch(trial)
    weights = [_weight(trial, number) for number in range(1, len(CHANNELS) + 1)]
    outputs = layers(images, weights)
    head = _drawn((classes, outputs[-1][0].numel()), trial.seed, "head", STD)
    loss = F.cross_entropy(outputs[-1].flatten(1) @ head.T, targets)
    deviations = [float(gradient.double().std()) for gradient in torch.autograd.grad(loss, outputs)]
    shares = [deviation / deviations[-1] for deviation in deviations]
    numbers = [float(number) for number in range(1, len(CHANNELS) + 1)]
    return Measurement({"shrinking": math.log10(shares[0])}, {"convolution": numbers, "share": shares})


def layers(images: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """What each convolution gives after its ReLU.

    The pools of VGG are left out, as the formula leaves them out, and pixels beyond the border come from the other
    side, so that every place has the fan of the formula.
    """
    found, signal = [], images
    for weight in weights:
        signal = F.conv2d(F.pad(signal, (1, 1, 1, 1), mode="circular"), weight).relu()
        found.append(signal)
    return found


def predicted(weights: str) -> list[float]:
    """The gradient's standard deviation after every convolution, as a share of that after the last, by the formula."""
    shares = [1.0]
    for channels in CHANNELS[:0:-1]:
        shares.append(shares[-1] * (STD * math.sqrt(9 * channels / 2) if weights == "small" else 1.0))
    return shares[::-1]


def _batch(trial: Trial) -> tuple[Tensor, Tensor, int]:
    """Some images of the trial's data as 8 by 8 pixels, their classes, and how many classes there are."""
    data = load_split(trial["data"])
    chosen = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(trial.seed))[: trial["samples"]]
    images = data.inputs[chosen]
    side = math.isqrt(images.shape[1])
    pixels = F.adaptive_avg_pool2d(images.view(-1, 1, side, side), SIZE)
    return pixels, data.targets[chosen], int(data.targets.max()) + 1


def _weight(trial: Trial, number: int) -> Tensor:
    channels, inputs = CHANNELS[number - 1], (1, *CHANNELS)[number - 1]
    std = STD if trial["weights"] == "small" else math.sqrt(2 / (9 * channels))
    return _drawn((channels, inputs, 3, 3), trial.seed, f"conv{number}", std).requires_grad_()


def _drawn(shape: tuple[int, ...], seed: int, name: str, std: float) -> Tensor:
    return init.normal_(torch.empty(shape), 0.0, std, stream=Stream(seed, name))


def verdict(results: Results) -> Verdict:
    """The factor over nine convolutions beside the formula."""
    words = {"small": "weights of 0.01", "he": "He's weights"}
    checks = [
        mean_check(
            PREDICTION,
            name,
            results.where(weights=name).values("shrinking"),
            f"log10 of the gradient's factor from the tenth to the second convolution, {told}",
        )
        for name, told in words.items()
    ]
    small, he = (10**check.estimate for check in checks)
    return judge(
        checks,
        f"With weights of 0.01 the gradient's standard deviation at the second convolution is 1/{1 / small:,.0f} of "
        f"that at the tenth (formula: 1/{1 / predicted('small')[0]:,.0f}); with He's weights it is {he:.2f} of it.",
    )


def figure(results: Results) -> Figure:
    """The gradient over the convolutions, beside the formula."""
    numbers = tuple(float(number) for number in range(2, len(CHANNELS) + 2))
    series = []
    for weights, told in (("small", "0.01"), ("he", "He")):
        line = results.where(weights=weights).curve_line(told, "convolution", "share")
        series += [Series(line.label, numbers, line.y, line.low, line.high)]
        series += [Series(f"{told}, formula", numbers, tuple(predicted(weights)))]
    return Figure(
        "The gradient at the input of each convolution, as a share of that at the output of the tenth; the backward "
        "pass goes from right to left. With weights of 0.01 each convolution divides it by 2 to 6, and 1/17,000 is "
        "left; He's weights keep it. What was measured lies on the formula's lines.",
        (
            Panel(
                "Gradients of VGG-B, by initial weights",
                "input of convolution",
                "standard deviation",
                tuple(series),
                log_y=True,
                expected=((1 / 17000, "1/17,000"),),
            ),
        ),
    )
