"""Plain networks of a thousand layers, trained; run it as `python benchmarks/train_deep.py`.

The result is written to docs/deep.md.
"""

import time
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

import evenflow as ef
from evenflow.data import digits

LAYERS, STEPS, BATCH = 1000, 200, 64
SCHEMES = ("auto", "torch", "glorot_normal", "orthogonal")


def tanh_network(width: int = 64) -> nn.Sequential:
    parts = [part for _ in range(LAYERS) for part in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(nn.Flatten(), *parts, nn.Linear(width, 10))


def convolutional_network(width: int = 8) -> nn.Sequential:
    stem = [nn.Conv2d(1, width, 3, padding=1), nn.Tanh()]
    parts = [part for _ in range(LAYERS - 1) for part in (nn.Conv2d(width, width, 3, padding=1), nn.Tanh())]
    return nn.Sequential(*stem, *parts, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10))


def train(model: nn.Module, scheme: str, rate: float) -> tuple[list[float], float]:
    """The training loss at a quarter, half, three quarters and all of the steps, and the test accuracy."""
    data = digits()
    images, drawn = data.inputs.view(-1, 1, 8, 8), torch.Generator().manual_seed(0)
    if scheme != "torch":
        ef.initialize_(model, images[:256], scheme=scheme)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for _ in track(range(STEPS), f"{type(model[0]).__name__}, {scheme}"):
        chosen = torch.randint(len(images), (BATCH,), generator=drawn)
        loss = F.cross_entropy(model(images[chosen]), data.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, accuracy(model, data.test_inputs.view(-1, 1, 8, 8), data.test_targets)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    return float((model(images).argmax(1) == targets).float().mean())


def main() -> None:
    begin = time.time()
    lines = []
    for name, build, rate in (
        ("tanh, dense, 64 units", tanh_network, 1e-4),
        ("tanh, convolutional, 8 channels", convolutional_network, 1e-4),
    ):
        for scheme in SCHEMES:
            torch.manual_seed(0)
            losses, share = train(build(), scheme, rate)
            shown = [sum(losses[end - 10 : end]) / 10 for end in (10, STEPS // 2, STEPS)]
            lines.append(f"| {name} | {scheme} | " + " | ".join(f"{loss:.3g}" for loss in shown) + f" | {share:.1%} |")
            print(lines[-1])
    head = [
        "# A thousand layers",
        "",
        f"Made by `python benchmarks/train_deep.py` in {(time.time() - begin) / 60:.0f} minutes.",
        f"Plain networks of {LAYERS:,} layers, without normalisation or residual sums, on scikit-learn's digits:",
        f"{STEPS} steps of Adam at 1e-4 with batches of {BATCH}. The losses are means over ten steps; a guess has 2.3.",
        "",
        f"| network | scheme | steps 1 to 10 | until step {STEPS // 2} | until step {STEPS} | test accuracy |",
        "|---|---|---|---|---|---|",
    ]
    (Path(__file__).parent.parent / "docs" / "deep.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
