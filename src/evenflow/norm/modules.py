"""`BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d`, drop-in for torch's."""

from collections.abc import Sequence
from typing import ClassVar, Never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evenflow import checks
from evenflow.errors import ParameterValueError, TensorShapeError
from evenflow.norm.activations import check_activation
from evenflow.norm.functional import check_batch, check_is_tensor, check_residual
from evenflow.norm.inplace import INVERTIBLE
from evenflow.norm.normalize import normalize_batch, normalize_population, statistics_dtype
from evenflow.norm.options import Options, check_statistics_dtype, refuse_unknown, weight_of_new_value
from evenflow.norm.ordinary import run_ordinary
from evenflow.norm.sharing import Shared, current_seat, recall
from evenflow.norm.standardize import standardize
from evenflow.norm.statistics import Statistics, statistics_of
from evenflow.norm.tracing import is_recomputation, values_are_hidden
from evenflow.norm.tracking import TrackingNorm

_SHOWN_UNLESS = {
    "activation": None,
    "on_nonfinite": "propagate",
    "running_variance": "unbiased",
    "statistics_dtype": None,
    "accumulate": 1,
    "frozen": False,
    "inplace": False,
}


class EvenBatchNorm(TrackingNorm):
    r"""What all layers here share; use one of those.

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
    - Gradient checkpointing, of either kind, moves them once: a forward pass inside a backward pass is a
      recomputation.
    - The options after `bias` have no counterpart in torch; without them everything is as there.

    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` knows torch's arguments only: it drops those options.

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
        momentum_of: Whose weight `momentum` is in this call: "new", or "old" as in Keras and flax. The
            attribute `momentum` is torch's in any case: 0.99 of the old is kept as 0.01.
        running_variance: Which variance goes into the running one: "unbiased", divided by $m - 1$, or "biased",
            divided by $m$, the one that normalises in training. With small batches in deep networks the second
            makes eval mode agree with training.
        statistics_dtype: Least dtype of the statistics, those of a batch and the running ones: None (float32, or
            that of wider parameters and data), torch.float32 or torch.float64. The last one computes in float64.
        accumulate: How many batches count as one in the running statistics: they move once for as many, by the
            moments of all their values, merged exactly. Each output is still normalised by its own batch; for
            outputs and gradients of the whole see `whole_batch`. The batches of an unfinished group are not in the
            state dict, which is torch's: call `finish_accumulation` before it is saved, or they are forgotten.
        frozen: Normalise by the running statistics in training mode too, and leave them alone. `train()` does
            not thaw the layer; setting the attribute does. The parameters go on learning.
        inplace: In training, write the output over the input, which the backward pass recovers from it: nothing of
            the size of the batch is kept. For `activation` None or "leaky_relu"; there is no second derivative. A
            call whose input cannot be overwritten or recovered (a leaf, a view, a half type, a residual, a
            `weight` near 0, `on_nonfinite="raise"`, compiled code) is an ordinary one.

    Raises:
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: An argument is out of range.
        UnknownActivationError: No such activation.

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithms 1 and 2; Rota Bulo, Porzi & Kontschieder 2018,
        "In-Place Activated BatchNorm", for `inplace`.
    """

    activation: str | None = None
    inplace: bool = False
    shared_calls: Sequence[Shared] = ()
    """What `whole_batch` gave this layer, for recomputations in the backward pass that follows."""
    _allowed_dims: ClassVar[tuple[int, ...] | None] = None
    _least_features: ClassVar[int] = 1

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
        momentum_of: str = "new",
        running_variance: str = "unbiased",
        statistics_dtype: torch.dtype | None = None,
        accumulate: int = 1,
        frozen: bool = False,
        inplace: bool = False,
        **unknown: Never,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown)
        super().__init__(
            checks.integer("num_features", num_features, low=self._least_features),
            checks.real("eps", eps, low=0, open_low=True),
            weight_of_new_value(momentum, momentum_of),
            affine,
            track_running_stats,
            device,
            dtype,
        )
        if not bias:
            self.register_parameter("bias", None)
        self._declare(
            {
                "activation": activation,
                "on_nonfinite": on_nonfinite,
                "running_variance": running_variance,
                "statistics_dtype": statistics_dtype,
                "accumulate": accumulate,
                "frozen": frozen,
                "inplace": inplace,
            }
        )

    def _declare(self, options: Options) -> None:
        """Check our options and set them; one that is not given has its default."""
        self.activation = check_activation(options.get("activation"))
        self.on_nonfinite = checks.choice(
            "on_nonfinite", options.get("on_nonfinite", "propagate"), ["propagate", "skip", "raise"]
        )
        self.running_variance = checks.choice(
            "running_variance", options.get("running_variance", "unbiased"), ["unbiased", "biased"]
        )
        self.statistics_dtype = check_statistics_dtype(options.get("statistics_dtype"))
        self._widen()
        self.accumulate = options.get("accumulate", 1)
        self.frozen = options.get("frozen", False)
        self.inplace = bool(options.get("inplace", False))
        if self.inplace and self.activation not in INVERTIBLE:
            raise ParameterValueError(
                f"inplace=True needs an activation that can be inverted, None or 'leaky_relu'; got {self.activation!r}"
            )
        if self.frozen and not self.track_running_stats:
            raise ParameterValueError("frozen=True needs track_running_stats=True: there would be nothing to use")

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
            TensorShapeError: The batch does not fit the layer, or has one value per channel in training; or the
                residual does not fit the batch.
            TensorDtypeError: The batch is not real floating point.
            NonFiniteError: The batch statistics are not finite and `on_nonfinite` is "raise".
            ParameterTypeError: The batch or the residual is no tensor.
            UnknownActivationError: No such activation.
        """
        output = run_ordinary(self, input, residual, activation) if type(self) in _ORDINARY else None
        return self._run(input, residual, activation=activation) if output is None else output

    def extra_repr(self) -> str:
        """Describe the layer as torch does, and add what is not torch's default."""
        shown = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
        shown += f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        return shown + "".join(
            f", {name}={getattr(self, name)}"
            for name, default in _SHOWN_UNLESS.items()
            if getattr(self, name) != default
        )

    def reset_parameters(self) -> None:
        """Set the running statistics to 0 and 1, `weight` to 1 and `bias` to 0."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _run(
        self, x: Tensor, residual: Tensor | None, mask: Tensor | None = None, *, activation: str | None = None
    ) -> Tensor:
        activation = check_activation(self.activation if activation is None else activation)
        self._check_input_dim(x)
        check_residual(x, residual)
        if not self._sees_batch():
            return self._by_population(x, residual, activation)
        if self.shared_calls and not is_recomputation():
            self.shared_calls = ()
        return self._by_batch(x, residual, activation, mask)

    def _sees_batch(self) -> bool:
        """Tell whether the statistics are the batch's, not the running ones."""
        return (self.training and not self.frozen) or self.running_mean is None or self.running_var is None

    def _by_population(self, x: Tensor, residual: Tensor | None, activation: str | None) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
        return normalize_population(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.eps,
            activation=activation,
            residual=residual,
        )

    def _by_batch(
        self, x: Tensor, residual: Tensor | None, activation: str | None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalise by the statistics of this batch alone, or by those that it shares with others."""
        if mask is not None or self._shares_statistics():
            return self._by_shared_statistics(x, residual, activation, mask)
        check_batch(x, training=True)
        wide = self._in_statistics_dtype(x)
        output, moments = normalize_batch(
            wide,
            self.weight,
            self.bias,
            self.eps,
            activation=activation,
            residual=residual,
            inplace=self._overwrites(activation),
        )
        if self.training and moments.count > 0:
            self._track(moments)
        return output.to(x.dtype)

    def _overwrites(self, activation: str | None) -> bool:
        """Tell whether this call is to write over its input; a batch that may be refused stays what it is."""
        return self.inplace and self.training and activation in INVERTIBLE and self.on_nonfinite != "raise"

    def _shares_statistics(self) -> bool:
        """Tell whether others have a part in the statistics that normalise this batch."""
        return self.training and (current_seat() is not None or len(self.shared_calls) > 0)

    def _by_shared_statistics(
        self, x: Tensor, residual: Tensor | None, activation: str | None, mask: Tensor | None = None
    ) -> Tensor:
        wide = self._in_statistics_dtype(x)
        statistics = self._joined(statistics_of(wide, mask))
        self._check_count(statistics.count)
        output = self._normalized(wide, statistics, residual, activation)
        self._track_shared(statistics, wide)
        return output.to(x.dtype)

    def _normalized(self, x: Tensor, statistics: Statistics, residual: Tensor | None, activation: str | None) -> Tensor:
        return standardize(x, statistics, self.weight, self.bias, self.eps, activation=activation, residual=residual)

    def _joined(self, own: Statistics) -> Statistics:
        """Join the statistics of this batch with those of the micro-batches that count as one with it."""
        seat = current_seat()
        if seat is not None:
            return seat.share(self, own)
        return recall(self.shared_calls, own) if self.shared_calls else own

    def _track_shared(self, statistics: Statistics, x: Tensor) -> None:
        seat = current_seat()
        if self.training and (seat is None or seat.is_last()):
            self._track(statistics.moments(statistics_dtype(x), x.numel() // x.shape[1]))

    def _in_statistics_dtype(self, x: Tensor) -> Tensor:
        return x.double() if self.statistics_dtype == torch.float64 else x

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        self._check_dims(input)
        if input.shape[1] != self.num_features:
            raise TensorShapeError(
                f"{type(self).__name__} has {self.num_features} channels; got input of shape "
                f"{tuple(input.shape)} with {input.shape[1]} in dimension 1. Set num_features to "
                f"{input.shape[1]}, or move the channels there"
            )
        check_batch(input, training=False)

    def _check_dims(self, x: Tensor) -> None:
        check_is_tensor("input", x)
        if self._allowed_dims is None and x.dim() >= 2:
            return
        if self._allowed_dims is None or x.dim() not in self._allowed_dims:
            allowed = " or ".join(f"{dims}-dimensional" for dims in self._allowed_dims or ("at least 2",))
            raise TensorShapeError(
                f"{type(self).__name__} needs {allowed} input (batch, channel, ...); got shape {tuple(x.shape)}"
            )

    def _check_count(self, count: Tensor) -> None:
        """Reject a single value per channel; where values cannot be seen, it is left out of the running statistics."""
        if not values_are_hidden() and count.item() == 1:
            raise TensorShapeError(
                f"{type(self).__name__} must have more than one value per channel in training; got 1 from all that "
                "share these statistics. The variance of one value is 0: use a larger batch, or eval mode"
            )


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


_ORDINARY = frozenset((BatchNorm1d, BatchNorm2d, BatchNorm3d))
