"""Training a group of trials, and looking at the share of saturated outputs on the way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from evenflow.lab.training import ACTIVATIONS, Recipe, load_split, train_together
from evenflow.lab.trial import Measurement, Trial

SAMPLES = 256
SATURATED = 0.97


def watched_group(
    trials: Sequence[Trial],
    build: Callable[[Trial, int, int], nn.Module],
    recipe: Recipe,
    at: Sequence[int],
) -> list[Measurement]:
    """Train trials that differ in seed and rate only, together, and watch their hidden layers saturate.

    Args:
        trials: They name `data`, `rate` and `activation` ("tanh" or "sigmoid").
        build: Makes the initialised network of a trial, for a number of features and of classes.
        recipe: How to train; the rates are those of the trials.
        at: After how many steps to look at the first 256 training samples, in training mode.

    Returns:
        Of each trial the metrics `first`, `mean` and `last` of the share of saturated outputs, over all hidden units
        and samples, and its curve `share` against `step`; beside those of the run.
    """
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    models = [build(trial, features, classes) for trial in trials]
    shares: list[list[float]] = [[] for _ in trials]

    def look(_: int, replicas: list[nn.Module]) -> None:
        for own, replica in zip(shares, replicas, strict=True):
            own.append(saturated_share(replica, data.inputs[:SAMPLES], trials[0]["activation"]))

    rates, seeds = [trial["rate"] for trial in trials], [trial.seed for trial in trials]
    runs = train_together(models, data, recipe, seeds, rates, look=look, at=at)
    found = []
    for run, own in zip(runs, shares, strict=True):
        metrics = {"first": own[0], "mean": sum(own) / len(own), "last": own[-1], **run.measurement().metrics}
        found.append(Measurement(metrics, {"step": [float(step) for step in at[: len(own)]], "share": own}))
    return found


@torch.no_grad()
def saturated_share(model: nn.Module, inputs: Tensor, activation: str) -> float:
    """The share of the outputs of all tanh or sigmoid layers that lie beyond 97 % of their range.

    NaN counts as saturated: it lets no gradient through either.

    Args:
        model: A sequence of layers; running statistics of its normalisation move.
        inputs: Samples.
        activation: "tanh" or "sigmoid".
    """
    kind = ACTIVATIONS[activation]
    shares, signal = [], inputs
    for layer in model.children():
        signal = layer(signal)
        if type(layer) is kind:
            centred = 2 * signal - 1 if activation == "sigmoid" else signal
            shares.append(1 - float((centred.abs() <= SATURATED).float().mean()))
    return sum(shares) / len(shares)
