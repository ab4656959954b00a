"""T1: neurons that start alike stay alike."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from evenflow.lab.training import batch_order, initialise_, load_split, mlp

ID = "T1"
TITLE = "Zero weights, one feature"
STATEMENT = (
    "With zero initialisation, the neurons of a layer learn the same feature in the first iterations. The same holds "
    "for any "
    "constant."
)
SOURCE = "notes: zero initialisation, constant initialisation; Goodfellow et al. 2016, section 8.4"
PREDICTION = Prediction(
    "After 10 steps of SGD a hidden layer that started constant has weights and gradients of one distinct row (rank "
    "1), the "
    "same row for all its neurons. With all weights zero, ReLU or tanh, nothing moves but the last bias. Glorot's "
    "random "
    "weights keep as many distinct rows as there are neurons.",
    rows_of_constant=(1, 1),
    rank_of_constant=(0, 1),
    moved_by_zeros=(1, 1),
    rows_of_random=(32, 32),
)

WIDTH, DEPTH, STEPS, RATE, BATCH = 32, 3, 10, 0.1, 64
SCHEMES = ("zeros", "constant", "glorot_normal")
# Rows closer than rounding makes them are one row.
NEAR = 1e-6


def design(budget: Budget) -> list[Trial]:
    """Three schemes, two activations, paired by the order of the batches."""
    return grid(budget.seeds(3, 10, 30), scheme=SCHEMES, activation=("tanh", "relu"), data=budget.data or "digits")


def measure(trial: Trial) -> Measurement:
    """Train for a few steps, and count the distinct rows of every hidden layer's weights and gradients."""
    data = load_split(trial["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    model = mlp([features, *[WIDTH] * DEPTH, classes], trial["activation"])
    initialise_(model, trial["scheme"], trial.seed, **({"val": 0.1} if trial["scheme"] == "constant" else {}))
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    curves: dict[str, list[float]] = {"step": [], "rows": [], "gradient_rows": [], "rank": []}
    for step, rows in enumerate(batch_order(len(data.inputs), BATCH, STEPS, trial.seed), start=1):
        gradients = torch.autograd.grad(
            F.cross_entropy(model(data.inputs[rows]), data.targets[rows]), list(model.parameters())
        )
        with torch.no_grad():
            torch._foreach_add_(list(model.parameters()), gradients, alpha=-RATE)
        curves["step"].append(step)
        curves["rows"].append(max(map(distinct_rows, _hidden(model))))
        curves["gradient_rows"].append(max(map(distinct_rows, gradients[: 2 * DEPTH : 2])))
        curves["rank"].append(max(float(torch.linalg.matrix_rank(w.detach(), rtol=NEAR)) for w in _hidden(model)))
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, start[name])]
    return Measurement(
        {
            "rows": curves["rows"][-1],
            "gradient_rows": curves["gradient_rows"][-1],
            "rank": curves["rank"][-1],
            "moved": len(moved),
            "last_bias_moved": float(f"linear{DEPTH + 1}.bias" in moved),
        },
        curves,
    )


def distinct_rows(weight: Tensor) -> float:
    """How many rows of a matrix differ by more than rounding."""
    left, count = weight.detach(), 0
    while len(left):
        scale = left[0].abs().max().clamp(min=1e-30)
        left = left[(left - left[0]).abs().amax(1) > NEAR * scale]
        count += 1
    return float(count)


def _hidden(model: nn.Sequential) -> list[Tensor]:
    return [layer.weight for layer in model if isinstance(layer, nn.Linear)][:-1]


def verdict(results: Results) -> Verdict:
    """Count rows; nothing is random here but the random weights."""
    constant, zeros = results.where(scheme=["zeros", "constant"]), results.where(scheme="zeros")
    random = results.where(scheme="glorot_normal")
    rows = np.maximum(constant.values("rows"), constant.values("gradient_rows"))
    checks = [
        exact_check(PREDICTION, "rows_of_constant", rows, "distinct rows of a hidden layer that started constant"),
        exact_check(PREDICTION, "rank_of_constant", constant.values("rank"), "rank of its weights"),
        exact_check(
            PREDICTION,
            "moved_by_zeros",
            zeros.values("moved") * zeros.values("last_bias_moved"),
            "tensors that moved from all zeros (the last bias among them)",
        ),
        exact_check(PREDICTION, "rows_of_random", random.values("rows"), f"distinct rows of Glorot's, of {WIDTH}"),
    ]
    return judge(
        checks,
        f"After {STEPS} steps a layer of {WIDTH} neurons that started constant has at most {rows.max():.0f} distinct "
        "row; "
        f"from all zeros {zeros.values('moved').max():.0f} tensor moved. Glorot's weights keep "
        f"{random.values('rows').min():.0f} distinct rows.",
    )


def figure(results: Results) -> Figure:
    """Distinct rows over the steps."""
    lines: list[Series] = [
        group.where(activation="tanh").curve_line(scheme, "step", "rows")
        for scheme, group in results.by("scheme").items()
    ]
    return Figure(
        f"Distinct rows of the weights in the hidden layers (of {WIDTH} neurons each, tanh) while SGD takes its "
        "first steps. "
        "Zeros and a constant lie on each other: one feature for all neurons.",
        (Panel("Neurons that differ", "step", "distinct rows", tuple(lines), log_y=True),),
    )
