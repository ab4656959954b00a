"""loss-at-start: a classifier whose loss is far above that of guessing: wrong with confidence before it has learnt.

Null: logits of root mean square up to sqrt(2) raise the expected cross-entropy by at most 1 over log(classes).
Threshold: 3 over chance is a warning, 10 over it an error. A loss below chance is a trained network's and no fault.
False positives, as warnings: in 200 draws of each healthy family of the tests 0.5 % of He's ReLU and GELU networks of
10 layers and width 64, 3 % of those of 50 layers and width 256, none of the others; 5 % of 300 draws of the first when
the batch holds 8 samples. No errors.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import finite, weight_gain
from evenflow.probe import NetworkRecord

RULE = "loss-at-start"
WARNING, ERROR = 3.0, 10.0


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Compare the loss with that of a uniform guess."""
    loss = network.loss
    if loss.chance is None or not network.layers or not finite(network.output):
        return
    excess = loss.value - loss.chance
    if not excess > WARNING:
        return
    head = network.layers[-1]
    yield Finding(
        RULE,
        "error" if excess > ERROR else "warning",
        head.name,
        {
            "loss": loss.value,
            "chance": loss.chance,
            "classes": loss.classes or 0,
            "output_rms": network.output.rms,
            "head_gain": weight_gain(head) or 0.0,
        },
        f"The loss is {loss.value:.3g}, where guessing among {loss.classes} classes gives {loss.chance:.3g}: the "
        f"outputs (rms {network.output.rms:.3g}) are too large, and the first steps do nothing but shrink them.",
        f"Give {called(head.name)} smaller weights (LeCun's rule, or zeros), or cure what enlarges its input.",
        (head.name,),
    )
