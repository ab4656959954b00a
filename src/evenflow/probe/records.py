"""What a probe writes down: plain frozen data, on which every rule, table and figure is a function."""

from dataclasses import asdict, dataclass

from evenflow.theory import Fans


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in equal bins between `low` and `high`, of at most a few thousand values of a tensor."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """The finite values of one tensor in a few numbers.

    Attributes:
        shape: Its shape; dimension 0 is taken as the sample.
        mean: Mean of the values.
        std: Standard deviation over all values.
        rms: Root mean square, `sqrt(mean**2 + std**2)`.
        low: Smallest value.
        high: Largest value.
        spread: Standard deviation *across samples*, root mean square over the units: the part of the signal
            that depends on the input. None for fewer than two samples.
        norm: Mean over samples of the Euclidean norm of one sample, in the mean-square sense: `rms *
            sqrt(units)`.
        nonfinite: Number of NaN and infinite values.
        histogram: Distribution of the values; None where it was not asked for or nothing is finite.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    rms: float
    low: float
    high: float
    spread: float | None
    norm: float
    nonfinite: int
    histogram: Histogram | None = None

    @property
    def samples(self) -> int:
        """Length of dimension 0."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, slots=True)
class Activation:
    """A non-linear function that the network applied to a layer's output.

    Attributes:
        name: The function, by the name that `evenflow.gain` knows.
        param: Its parameter (negative slope, alpha), None where it has none.
        input: The pre-activation.
        output: The result.
        saturated: Share of values on a plateau of the function, in [0, 1]; None where it has none.
        dead: Share of units whose output and derivative are zero for every sample, in [0, 1]; None where that
            cannot be.
        units: Number of units.
    """

    name: str
    param: float | None
    input: Moments
    output: Moments
    saturated: float | None
    dead: float | None
    units: int


@dataclass(frozen=True, slots=True)
class ParameterRecord:
    """One parameter and its gradient.

    Attributes:
        name: Qualified name in the model.
        shape: Its shape.
        trainable: Whether it requires a gradient.
        rms: Root mean square of its finite values.
        norm: Euclidean norm of its finite values.
        nonfinite: Number of NaN and infinite values.
        rows: Length of dimension 0 of a matrix or kernel (its units), None for a vector.
        distinct_rows: Number of different rows; None for a vector.
        grad_norm: Euclidean norm of the gradient; None when frozen or unused.
        grad_nonfinite: Number of NaN and infinite values in the gradient.
        grad_distinct_rows: Number of rows of the gradient that differ by more than rounding; None as above.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    rms: float
    norm: float
    nonfinite: int
    rows: int | None = None
    distinct_rows: int | None = None
    grad_norm: float | None = None
    grad_nonfinite: int = 0
    grad_distinct_rows: int | None = None


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One call of one layer, in execution order.

    Attributes:
        index: Position in execution order, from 0.
        name: Qualified module name, or the parameter's where a module holds several raw weights.
        kind: Class of the module ("Linear"), or the function's name ("matmul").
        role: "weight" (linear maps), "norm", "embedding", or "opaque" (recurrent, attention, unknown).
        call: 0 for the first call of this layer, 1 for the second...
        fans: Fan-in and fan-out of its weight; None where there is no rule.
        sources: Indices of the layers whose output it reads; empty when it reads the network's input.
        bypassed: Whether another path leads around it, as in a residual branch.
        normalised: Whether a normalisation reads its output before any activation does.
        input: Moments of what it read; None when that is not floating point.
        output: Moments of what it gave, before the activation.
        gradient: Moments of the gradient with respect to `output`; None when none arrived.
        activation: The first activation applied to its output; None when there is none.
        parameters: Its parameters, the weight first.
    """

    index: int
    name: str
    kind: str
    role: str
    call: int
    fans: Fans | None
    sources: tuple[int, ...]
    bypassed: bool
    normalised: bool
    input: Moments | None
    output: Moments
    gradient: Moments | None
    activation: Activation | None
    parameters: tuple[ParameterRecord, ...]

    @property
    def signal(self) -> Moments:
        """What the layer hands on: after the activation when there is one."""
        return self.activation.output if self.activation else self.output

    @property
    def weight(self) -> ParameterRecord | None:
        """The first parameter of two or more dimensions."""
        return next((p for p in self.parameters if p.rows is not None), None)


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One floating-point tensor of the batch.

    Attributes:
        name: Its keyword, or its position.
        moments: Its moments.
        feature_median: Median standard deviation across the batch of the features (dimension 1) that vary;
            None unless 2-d.
        feature_high: Largest standard deviation of a feature; None unless 2-d.
    """

    name: str
    moments: Moments
    feature_median: float | None = None
    feature_high: float | None = None


@dataclass(frozen=True, slots=True)
class LossRecord:
    """The loss at the measured point.

    Attributes:
        kind: "cross-entropy", "mean squared error", "given" (a loss function of the caller), "model" (the
            output's own loss) or "projection" (no targets: the outputs along a fixed random direction).
        value: Its value.
        chance: Cross-entropy of a guess that ignores the input, `log(classes)`; None where it is not a
            classification.
        classes: Number of classes; None likewise.
    """

    kind: str
    value: float
    chance: float | None = None
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """Everything that one forward and one backward pass told about a network.

    Attributes:
        model: Class of the model.
        samples: Batch size.
        inputs: The floating-point inputs.
        layers: Every call of every layer in execution order.
        output: Moments of the model's main output.
        loss: The loss.
        unused: Qualified names of layers with parameters that the forward pass never reached.
        frozen: Names of parameters that do not require a gradient.
        nonfinite_parameters: Names of the parameters and buffers that hold NaN or infinity.
        was_training: Whether the model was in training mode before it was measured.
    """

    model: str
    samples: int
    inputs: tuple[InputRecord, ...]
    layers: tuple[LayerRecord, ...]
    output: Moments
    loss: LossRecord
    unused: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    nonfinite_parameters: tuple[str, ...] = ()
    was_training: bool = True

    def to_dict(self) -> dict[str, object]:
        """The record as nested dictionaries of numbers, strings, lists and None."""
        return asdict(self)
