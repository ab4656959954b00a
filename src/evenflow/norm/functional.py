"""`batch_norm`, drop-in for `torch.nn.functional.batch_norm`."""

from jaxtyping import Float
from torch import Tensor

from evenflow import checks
from evenflow.errors import ParameterTypeError, TensorDtypeError, TensorShapeError
from evenflow.norm.activations import check_activation
from evenflow.norm.normalize import normalize_batch, normalize_population


def batch_norm(
    input: Float[Tensor, "batch channel *space"],  # noqa: A002 - torch's name
    running_mean: Float[Tensor, " channel"] | None,
    running_var: Float[Tensor, " channel"] | None,
    weight: Float[Tensor, " channel"] | None = None,
    bias: Float[Tensor, " channel"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    residual: Float[Tensor, "batch channel *space"] | None = None,
) -> Float[Tensor, "batch channel *space"]:
    r"""Normalise each channel, with the statistics of the batch or with the running ones.

    $$
    y = f\!\left( \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta + r \right)
    $$

    In training $\mu$ and $\sigma^2$ are those of the batch, the variance divided by $m$ (biased), and the
    running statistics move in place by $r \leftarrow (1 - \alpha) r + \alpha v$, with the variance divided by
    $m - 1$ (unbiased): both as in torch. `momentum` is $\alpha$, torch's: the weight of the *new* value. In
    Keras and flax it is the weight of the old one.

    The statistics are float32 for float32, float16 and bfloat16 input, float64 for float64. The running buffers
    may have any floating dtype; in a half one, which keeps 8 or 11 bits, small steps round away and the average
    stalls, so keep them in float32. An empty batch returns an empty output and leaves the buffers alone.

    Args:
        input: The batch.
        running_mean: Moved in place in training; read otherwise.
        running_var: Moved in place in training; read otherwise.
        weight: $\gamma$. None means 1.
        bias: $\beta$. None means 0.
        training: Whether the statistics are those of the batch.
        momentum: $\alpha$, in [0, 1].
        eps: $\epsilon$; positive in training, not negative otherwise.
        activation: $f$: None, "relu", "leaky_relu", "silu", "gelu", "sigmoid", "tanh" or "hardswish", with
            torch's default parameters.
        residual: $r$, of the shape of `input`. None means 0.

    Returns:
        The output, in the shape, dtype and memory format of `input`.

    Raises:
        TensorShapeError: The input has no channel dimension, a vector does not have one value a channel, the
            residual has another shape, or training sees a single value per channel. Nothing was changed.
        TensorDtypeError: The input is not real floating point.
        ParameterTypeError: The input or the residual is no tensor; only one running buffer was given, or none where
            one is needed.
        ParameterValueError: `momentum` or `eps` is out of range.
        UnknownActivationError: No such activation.

    Examples:
        >>> import torch
        >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=1e-12)
        tensor([[-1.],
                [ 1.]])

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithms 1 and 2.
    """
    momentum = checks.real("momentum", momentum, low=0, high=1)
    eps = checks.real("eps", eps, low=0, open_low=training)
    check_batch(input, training=training)
    for name, vector in zip(
        ("running_mean", "running_var", "weight", "bias"),
        (running_mean, running_var, weight, bias),
        strict=True,
    ):
        _check_vector(name, vector, input.shape[1])
    check_residual(input, residual)
    check_activation(activation)
    if (running_mean is None) != (running_var is None):
        raise ParameterTypeError("running_mean and running_var must both be tensors or both be None")

    if not training:
        if running_mean is None or running_var is None:
            raise ParameterTypeError("running_mean and running_var must be tensors when training=False; got None")
        return normalize_population(
            input, running_mean, running_var, weight, bias, eps, activation=activation, residual=residual
        )

    output, moments = normalize_batch(input, weight, bias, eps, activation=activation, residual=residual)
    if running_mean is not None and running_var is not None and moments.count > 0:
        moments.update_(running_mean, moments.mean, momentum)
        moments.update_(running_var, moments.variance, momentum)
    return output


def check_batch(x: Tensor, *, training: bool) -> None:
    """Reject a batch that batch normalisation is not defined for.

    Raises:
        TensorShapeError: No channel dimension, no channels, or a single value per channel in training.
        TensorDtypeError: Not real floating point.
        ParameterTypeError: No tensor.
    """
    check_is_tensor("input", x)
    if not x.is_floating_point():
        raise TensorDtypeError(
            f"input must be real floating point; got {x.dtype}. Convert it first, as with input.float()"
        )
    if x.dim() < 2 or x.shape[1] == 0:
        raise TensorShapeError(
            f"input must have the shape (batch, channel, ...) with at least one channel; got {tuple(x.shape)}"
        )
    if training and x.numel() == x.shape[1]:
        raise TensorShapeError(
            f"input must have more than one value per channel in training; got {tuple(x.shape)}. The "
            "variance of one value is 0: use a larger batch (drop_last=True in the DataLoader), or eval mode"
        )


def check_is_tensor(name: str, value: object) -> None:
    """Reject what is no tensor.

    Raises:
        ParameterTypeError: It is something else.
    """
    if not isinstance(value, Tensor):
        hint = "; torch.as_tensor converts arrays" if hasattr(value, "__array__") else ""
        raise ParameterTypeError(f"{name} must be a tensor; got {type(value).__name__}{hint}")


def check_residual(x: Tensor, residual: Tensor | None) -> None:
    """Reject a residual that does not fit a batch.

    Raises:
        TensorShapeError: It has another shape.
        ParameterTypeError: It is no tensor.
    """
    if residual is None:
        return
    if not isinstance(residual, Tensor):
        raise ParameterTypeError(
            f"residual must be a tensor of the shape of input, {tuple(x.shape)}, or None; got {residual!r}. For one "
            "number pass torch.full_like(input, number)"
        )
    if residual.shape != x.shape:
        raise TensorShapeError(f"residual must have the shape of input, {tuple(x.shape)}; got {tuple(residual.shape)}")


def _check_vector(name: str, vector: Tensor | None, channels: int) -> None:
    if vector is None:
        return
    if not vector.is_floating_point():
        raise TensorDtypeError(f"{name} must be real floating point; got {vector.dtype}")
    if vector.shape != (channels,):
        raise TensorShapeError(
            f"{name} must have one value for each of the {channels} channels of input; got shape {tuple(vector.shape)}"
        )
