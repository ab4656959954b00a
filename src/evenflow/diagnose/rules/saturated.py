"""saturated: units that sit on the plateau of their activation, where the derivative is almost zero.

A tanh counts as saturated when abs(tanh) > 0.97 (the threshold of Glorot & Bengio 2010, section 3), the others at the
same share of their range. Null: pre-activations that are normal with a root mean square up to 1.4 put 14 % there; a
batch of 16 samples and 16 units adds at most 5 % of sampling error at three standard deviations. Threshold: 25 % is a
warning, 50 % an error. False positives: none for such pre-activations.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.reading import names
from evenflow.probe import NetworkRecord

RULE = "saturated"
WARNING, ERROR = 0.25, 0.5


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer that saturates."""
    shares = [(layer, layer.activation.saturated) for layer in network.layers if layer.activation]
    over = [(layer, share) for layer, share in shares if share is not None and share > WARNING]
    if not over:
        return
    strong = [(layer, share) for layer, share in over if share > ERROR]
    first, share = (strong or over)[0]
    name = first.activation.name if first.activation else ""
    yield Finding(
        RULE,
        "error" if strong else "warning",
        first.name,
        {"saturated": share, "preactivation_rms": first.output.rms},
        f"{share:.0%} of the {name} outputs of {first.name} lie on the plateau (pre-activation rms "
        f"{first.output.rms:.3g}): almost no "
        "gradient passes them.",
        "Use smaller weights (Glorot), or a BatchNorm before the activation.",
        names(layer for layer, _ in (strong or over)),
    )
