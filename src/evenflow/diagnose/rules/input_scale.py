"""input-scale: inputs that are not standardised.

Initialisation schemes assume inputs of mean about 0 and standard deviation about 1 (LeCun et al. 1998, "Efficient
BackProp", section 4.3). Null: standardised features, or pixels in [0, 1], have a root mean square in [0.1, 5].
Threshold: outside it a warning, outside [0.001, 100] an error; a warning when the largest feature varies 30 times more
than the median one (pixels of one image set stay below 5). A network that normalises its input itself gets a note.
False positives: sparse or one-hot inputs wider than 100 have a smaller rms; for them the norm of a sample, which is
then about 1, counts.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.rules.reading import finite
from evenflow.probe import InputRecord, NetworkRecord

RULE = "input-scale"
USUAL = (0.1, 5.0)
EXTREME = (1e-3, 100.0)
FEATURES = 30.0


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Compare each real input with a standardised one."""
    normalised = any(layer.role == "norm" and not layer.sources for layer in network.layers)
    for item in network.inputs:
        if not finite(item.moments):
            continue
        moments = item.moments
        spare = moments.low >= 0 and 0.5 <= moments.norm <= 5
        if moments.rms == 0 or not (USUAL[0] <= moments.rms <= USUAL[1] or spare):
            extreme = not EXTREME[0] <= moments.rms <= EXTREME[1]
            yield _finding(item, "note" if normalised else "error" if extreme else "warning")
        elif item.feature_median and item.feature_high and item.feature_high > FEATURES * item.feature_median:
            yield _uneven(item, "note" if normalised else "warning")


def _finding(item: InputRecord, severity: Severity) -> Finding:
    moments = item.moments
    return Finding(
        RULE,
        severity,
        "input",
        {
            "mean": moments.mean,
            "std": moments.std,
            "rms": moments.rms,
            "low": moments.low,
            "high": moments.high,
        },
        f"Input {item.name} has mean {moments.mean:.3g} and standard deviation {moments.std:.3g} (from "
        f"{moments.low:.3g} to "
        f"{moments.high:.3g}); the scale of every layer's signal follows from it.",
        "Standardise the inputs: subtract the mean and divide by the standard deviation of the training set.",
        ("input",),
    )


def _uneven(item: InputRecord, severity: Severity) -> Finding:
    median, high = item.feature_median or 0.0, item.feature_high or 0.0
    return Finding(
        RULE,
        severity,
        "input",
        {"feature_std_median": median, "feature_std_high": high},
        f"The largest feature of input {item.name} varies {high / median:.3g} times as much as the median one: it "
        "drowns the others.",
        "Standardise each feature by its own mean and standard deviation.",
        ("input",),
    )
