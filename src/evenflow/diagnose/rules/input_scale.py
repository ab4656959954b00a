"""input-scale: inputs that are not standardised.

Initialisation schemes assume inputs of mean about 0 and standard deviation about 1 (LeCun et al. 1998, "Efficient
BackProp", section 4.3). Null: standardised features, or pixels in [0, 1], have a root mean square in [0.1, 5]. Sparse
or one-hot inputs wider than 100 have a smaller one; for them the norm of a sample, which is then about 1, counts.
Threshold: outside that interval a warning, outside [0.001, 100] an error; a warning when the largest feature varies 30
times more than the median one (pixels of one image set stay below 5). A network whose first layers are normalised takes
the scale of its inputs out itself, and gets a note. False positives: none on the digits, on standard normal, one-hot
and [0, 1] inputs.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.rules.reading import finite
from evenflow.probe import InputRecord, Moments, NetworkRecord

RULE = "input-scale"
USUAL = (0.1, 5.0)
EXTREME = (1e-3, 100.0)
SPARSE_NORM = (0.5, 5.0)
FEATURES = 30.0


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Compare each real input with a standardised one."""
    normalised = _normalises_itself(network)
    for item in network.inputs:
        if not finite(item.moments):
            continue
        if not _is_usual(item.moments):
            yield _finding(item, "note" if normalised else _severity(item.moments.rms))
        elif item.feature_median and item.feature_high and item.feature_high > FEATURES * item.feature_median:
            yield _uneven(item, "note" if normalised else "warning")


def _normalises_itself(network: NetworkRecord) -> bool:
    """Whether every layer that reads the inputs is a normalisation or followed by one."""
    readers = [layer for layer in network.layers if not layer.sources and layer.input is not None]
    return bool(readers) and all(layer.role == "norm" or layer.normalised for layer in readers)


def _is_usual(moments: Moments) -> bool:
    sparse = moments.low >= 0 and SPARSE_NORM[0] <= moments.norm <= SPARSE_NORM[1]
    return moments.rms > 0 and (USUAL[0] <= moments.rms <= USUAL[1] or sparse)


def _severity(rms: float) -> Severity:
    return "warning" if EXTREME[0] <= rms <= EXTREME[1] else "error"


def _finding(item: InputRecord, severity: Severity) -> Finding:
    moments = item.moments
    values = {"mean": moments.mean, "std": moments.std, "rms": moments.rms, "low": moments.low, "high": moments.high}
    return Finding(
        RULE,
        severity,
        "input",
        values,
        f"Input {item.name} has mean {moments.mean:.3g} and standard deviation {moments.std:.3g} (from "
        f"{moments.low:.3g} to {moments.high:.3g}), where initialisation assumes about 0 and 1: the signal "
        f"is too {'large' if moments.rms > 1 else 'small'} from the first layer on.",
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
