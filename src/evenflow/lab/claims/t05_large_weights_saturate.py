"""T5: large random weights drive tanh and sigmoid into their plateaus."""

import torch
from torch import Tensor, nn

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
    mean_check,
)
from evenflow.lab.training import initialise_, load_split, mlp

ID = "T5"
TITLE = "Large weights saturate"
STATEMENT = "Large random weights saturate tanh and sigmoid; U(0, 1) and N(0, 1) are large."
SOURCE = "notes: random initialisation and its saturation histograms"
PREDICTION = Prediction(
    "In five hidden layers of 100 units, N(0, 1) and U(0, 1) put more than half of all tanh outputs and more than "
    "0.3 of all "
    "sigmoid outputs beyond 97 % of their range; Glorot's weights less than 0.05.",
    tanh_normal=(0.5, None),
    tanh_uniform=(0.5, None),
    tanh_glorot=(None, 0.05),
    sigmoid_normal=(0.3, None),
    sigmoid_uniform=(0.3, None),
    sigmoid_glorot=(None, 0.05),
)

DEPTH, WIDTH, SAMPLES, BINS = 5, 100, 256, 41
SATURATED = 0.97
SCHEMES = {"normal": "random_normal", "uniform": "random_uniform", "glorot": "glorot_normal"}


def design(budget: Budget) -> list[Trial]:
    """Three schemes, two activations."""
    return grid(
        budget.seeds(8, 30, 100),
        activation=("tanh", "sigmoid"),
        scheme=tuple(SCHEMES.values()),
        data=budget.data or "digits",
    )


def measure(trial: Trial) -> Measurement:
    """The share of saturated outputs of every hidden layer, and a histogram of the third."""
    data = load_split(trial["data"])
    rows = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(trial.seed))[:SAMPLES]
    model = mlp([data.inputs.shape[1], *[WIDTH] * DEPTH, 10], trial["activation"])
    initialise_(model, trial["scheme"], trial.seed)
    outputs = [centred(output, trial["activation"]) for output in _outputs(model, data.inputs[rows])]
    shares = [float((output.abs() > SATURATED).float().mean()) for output in outputs]
    counts = torch.histc(outputs[2], BINS, -1, 1)
    centres = (torch.arange(BINS) + 0.5) * 2 / BINS - 1
    return Measurement(
        {"saturated": sum(shares) / len(shares)},
        {
            "layer": [float(i) for i in range(1, DEPTH + 1)],
            "share": shares,
            "value": centres.tolist(),
            "density": (counts / counts.sum()).tolist(),
        },
    )


def centred(output: Tensor, activation: str) -> Tensor:
    """Outputs on the scale from -1 to 1."""
    return 2 * output - 1 if activation == "sigmoid" else output


@torch.no_grad()
def _outputs(model: nn.Sequential, signal: Tensor) -> list[Tensor]:
    outputs = []
    for layer in model:
        signal = layer(signal)
        if not isinstance(layer, nn.Linear):
            outputs.append(signal)
    return outputs


def verdict(results: Results) -> Verdict:
    """Mean shares over the layers."""
    checks = [
        mean_check(
            PREDICTION,
            f"{activation}_{name}",
            results.where(activation=activation, scheme=scheme).values("saturated"),
            f"share of saturated {activation} outputs, {scheme}",
        )
        for activation in ("tanh", "sigmoid")
        for name, scheme in SCHEMES.items()
    ]
    told = {check.name: f"{100 * check.estimate:.0f} %" for check in checks}
    return judge(
        checks,
        f"Saturated tanh outputs: {told['tanh_normal']} with N(0, 1), {told['tanh_uniform']} with U(0, 1), "
        f"{told['tanh_glorot']} with Glorot's weights; sigmoid: {told['sigmoid_normal']}, {told['sigmoid_uniform']}, "
        f"{told['sigmoid_glorot']}.",
    )


def figure(results: Results) -> Figure:
    """Shares by layer, and histograms."""
    panels = []
    for activation, group in results.by("activation").items():
        shares = tuple(one.curve_line(scheme, "layer", "share") for scheme, one in group.by("scheme").items())
        panels.append(Panel(f"Saturated outputs, {activation}", "layer", "share of outputs", shares))
        bins = tuple(one.curve_line(scheme, "value", "density") for scheme, one in group.by("scheme").items())
        panels.append(
            Panel(
                f"Outputs of the third layer, {activation}", "output, on the scale -1 to 1", "share", bins, log_y=True
            )
        )
    return Figure(
        "Large weights push nearly every output to an end of its range, where the derivative is zero.", tuple(panels)
    )
