"""`BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d`, drop-in for torch's."""

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow import checks
from evenflow.errors import TensorShapeError
from evenflow.norm.activations import check_activation
from evenflow.norm.functional import check_batch
from evenflow.norm.moments import BatchMoments
from evenflow.norm.normalize import normalize_batch, normalize_population

_RUNNING = ("running_mean", "running_var")
_FLOAT32_BITS = 32


class EvenBatchNorm(_BatchNorm):
    r"""What the three layers share; use one of those.

    $$
    y = f\!\left( \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \right)
    $$

    A subclass of torch's layer of the same name: `isinstance` checks, freezing code and checkpoints work in
    both directions. In training $\mu$ and $\sigma^2$ are the batch's, with the biased variance; the running
    variance gets the unbiased one; in eval mode the running ones are used. What is different from torch:

    - The statistics are right when the mean is large beside the deviation, and over millions of rows.
    - The running statistics stay float32 when the layer is cast to a half type, so that they do not stall.
    - A rejected batch changes nothing, and neither does an empty one: `num_batches_tracked` counts batches
      that moved the running statistics.
    - `on_nonfinite` decides what a batch with NaN or infinity does to the running statistics.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` knows torch's arguments only: it drops `activation` and
    `on_nonfinite`.

    Args:
        num_features: Number of channels, the size of dimension 1.
        eps: $\epsilon$, positive.
        momentum: Weight of the *new* value in the running statistics (torch's meaning), in [0, 1]; None
            averages all batches equally.
        affine: Whether there is a `weight` ($\gamma$) and a `bias` ($\beta$).
        track_running_stats: Whether there are running statistics. Without them eval mode uses the batch's.
        device: Of the parameters and buffers.
        dtype: Of the parameters. The running statistics have it too, but float32 at least.
        bias: Whether an affine layer has a `bias`.
        activation: $f$: None, "relu", "leaky_relu", "silu", "gelu", "sigmoid", "tanh" or "hardswish".
        on_nonfinite: In training, when the statistics of a batch are not finite: "propagate" lets them into
            the running ones, as torch does; "skip" leaves those and `num_batches_tracked` alone and returns
            the output as usual; "raise" raises `NonFiniteError` and changes nothing.

    Raises:
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: An argument is out of range.
        UnknownActivationError: No such activation.

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithms 1 and 2.
    """

    _allowed_dims: ClassVar[tuple[int, ...]]
    frozen: bool = False
    """Whether the layer uses its running statistics and leaves them alone, also in training mode."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        activation: str | None = None,
        on_nonfinite: str = "propagate",
    ) -> None:
        super().__init__(
            checks.integer("num_features", num_features, low=1),
            checks.real("eps", eps, low=0, open_low=True),
            None if momentum is None else checks.real("momentum", momentum, low=0, high=1),
            affine,
            track_running_stats,
            device,
            dtype,
        )
        if not bias:
            self.register_parameter("bias", None)
        self.activation = check_activation(activation)
        self.on_nonfinite = checks.choice("on_nonfinite", on_nonfinite, ["propagate", "skip", "raise"])
        self._widen_running_stats()

    def forward(
        self,
        input: Float[Tensor, "batch channel *space"],  # noqa: A002 - torch's name
        residual: Float[Tensor, "batch channel *space"] | None = None,
        *,
        activation: str | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """Normalise the batch and, in training, move the running statistics.

        Args:
            input: The batch.
            residual: Added to the normalised batch, before the activation; of the shape of `input`.
            activation: Applied in this call, in place of the layer's own; None leaves it to the layer.

        Returns:
            The output, in the shape, dtype and memory format of `input`.

        Raises:
            TensorShapeError: The batch does not fit the layer, or has one value per channel in training.
            TensorDtypeError: The batch is not real floating point.
            NonFiniteError: The batch statistics are not finite and `on_nonfinite` is "raise".
        """
        self._check_input_dim(input)
        activation = self.activation if activation is None else check_activation(activation)
        training = self.training and not self.frozen
        mean, variance = self.running_mean, self.running_var
        if not training and mean is not None and variance is not None:
            return normalize_population(
                input, mean, variance, self.weight, self.bias, self.eps, activation=activation, residual=residual
            )
        output, moments = normalize_batch(
            input, self.weight, self.bias, self.eps, activation=activation, residual=residual
        )
        if training and moments.count > 0:
            self._track(moments)
        return output

    def extra_repr(self) -> str:
        """Describe the layer as torch does, and add what is not torch's default."""
        shown = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
        shown += f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        if self.activation is not None:
            shown += f", activation={self.activation}"
        if self.on_nonfinite != "propagate":
            shown += f", on_nonfinite={self.on_nonfinite}"
        return shown

    def reset_parameters(self) -> None:
        """Set the running statistics to 0 and 1, `weight` to 1 and `bias` to 0."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _track(self, moments: BatchMoments) -> None:
        if self.on_nonfinite == "raise":
            moments.require_finite()
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        accept = moments.finite().all() if self.on_nonfinite == "skip" else None
        momentum = self._weight_of_new_value()
        moments.update_(self.running_mean, moments.mean, momentum, accept)
        moments.update_(self.running_var, moments.variance, momentum, accept)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1 if accept is None else accept)

    def _weight_of_new_value(self) -> float:
        if self.momentum is not None:
            return self.momentum
        if self.num_batches_tracked is None:
            return 0.0
        return 1.0 / (float(self.num_batches_tracked) + 1.0)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        if input.dim() not in self._allowed_dims:
            wanted = " or ".join(f"{dims}-dimensional" for dims in self._allowed_dims)
            raise TensorShapeError(
                f"{type(self).__name__} needs {wanted} input (batch, channel, ...); got shape {tuple(input.shape)}"
            )
        if input.shape[1] != self.num_features:
            raise TensorShapeError(
                f"{type(self).__name__} has {self.num_features} channels; got input of shape "
                f"{tuple(input.shape)} with {input.shape[1]} in dimension 1. Set num_features to "
                f"{input.shape[1]}, or move the channels there"
            )
        check_batch(input, training=(self.training and not self.frozen) or self.running_mean is None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = {name: self._buffers[name] for name in _RUNNING}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it bare
        self._widen_running_stats(before)
        return self

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._widen_running_stats()

    def _widen_running_stats(self, source: dict[str, Tensor | None] | None = None) -> None:
        """Bring narrow running statistics back to float32, from `source` where that kept more digits."""
        for name in _RUNNING:
            now = self._buffers[name]
            if now is None or torch.finfo(now.dtype).bits >= _FLOAT32_BITS:
                continue
            kept = None if source is None else source[name]
            self._buffers[name] = (now if kept is None else kept).to(device=now.device, dtype=torch.float32)


class BatchNorm1d(EvenBatchNorm, nn.BatchNorm1d):
    """Batch normalisation of (batch, channel) or (batch, channel, length) data.

    Drop-in for `torch.nn.BatchNorm1d`; see `EvenBatchNorm` for the mathematics, the arguments and what is
    different.

    Examples:
        >>> layer = BatchNorm1d(1, activation="relu")
        >>> layer(torch.tensor([[1.0], [3.0]])).detach()
        tensor([[0.0000],
                [1.0000]])
        >>> layer.running_mean
        tensor([0.2000])
    """

    _allowed_dims = (2, 3)


class BatchNorm2d(EvenBatchNorm, nn.BatchNorm2d):
    """Batch normalisation of (batch, channel, height, width) data, contiguous or channels-last.

    Drop-in for `torch.nn.BatchNorm2d`; see `EvenBatchNorm` for the mathematics, the arguments and what is
    different.

    Examples:
        >>> BatchNorm2d(3, on_nonfinite="skip")
        BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, ..., on_nonfinite=skip)
    """

    _allowed_dims = (4,)


class BatchNorm3d(EvenBatchNorm, nn.BatchNorm3d):
    """Batch normalisation of (batch, channel, depth, height, width) data.

    Drop-in for `torch.nn.BatchNorm3d`; see `EvenBatchNorm` for the mathematics, the arguments and what is
    different.

    Examples:
        >>> BatchNorm3d(2)(torch.zeros(4, 2, 3, 3, 3)).shape
        torch.Size([4, 2, 3, 3, 3])
    """

    _allowed_dims = (5,)
