r"""exploding-gradient inside a layer: a recurrence multiplies the gradient at every step on the way back.

What happens inside a recurrent layer cannot be seen from outside, but the gradient of its weights tells. With
gradients \(\delta\) at its output and signals \(x\) of one step, a layer without memory has

\[
\|\partial L / \partial W\| \le N \|\delta\| \, \|x\|
\]

over N samples when the gradient arrives at one step or the steps are independent, and \(\sqrt{T}\) times that at most
when T steps agree, by the inequality of Cauchy and Schwarz; whatever exceeds it was amplified inside. Null: that bound.
Threshold: 30 times is a warning, 1,000 times an error, and never less than \(3 \sqrt{T}\). False positives: none for a
map without memory; none in 200 draws of the LSTM of the tests. A gradient that vanishes over time is usual for
recurrent layers and not reported.

References:
    Pascanu et al. (2013), "On the difficulty of training recurrent neural networks", section 2.
"""

import math
from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import finite, gradient, positions
from evenflow.probe import LayerRecord, Moments, NetworkRecord

RULE = "exploding-gradient"
WARNING, ERROR = 30.0, 1e3
AGREEING = 3.0


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name each recurrent or attention layer whose weights get a larger gradient than can come from outside."""
    for layer in network.layers:
        growth = _growth(layer, network.samples) if layer.role == "opaque" else None
        if growth is not None and growth > max(WARNING, AGREEING * math.sqrt(positions(layer))):
            yield _finding(layer, growth)


def _growth(layer: LayerRecord, samples: int) -> float | None:
    """The largest gradient of a weight over its bound; None where nothing is known."""
    arrived = gradient(layer)
    signals = [moments for moments in (layer.input, layer.output) if moments is not None and finite(moments)]
    norms = [p.grad_norm for p in layer.parameters if p.rows is not None and p.grad_norm and not p.grad_nonfinite]
    if arrived is None or not norms or not signals:
        return None
    largest = max(_step_norm(moments) for moments in signals)
    bound = samples * arrived.norm * largest
    return max(norms) / bound if bound else None


def _step_norm(moments: Moments) -> float:
    return moments.rms * math.sqrt(moments.shape[-1]) if moments.shape else moments.rms


def _finding(layer: LayerRecord, growth: float) -> Finding:
    return Finding(
        RULE,
        "error" if growth > ERROR else "warning",
        layer.name,
        {"ratio": growth},
        f"Inside {called(layer.name)} the gradient grows: that of its weights is {growth:.2g} times as large as the "
        "gradient at its output can account for.",
        "Clip the gradient norm; orthogonal state matrices keep the gradient's size at the start.",
        (layer.name,),
    )
