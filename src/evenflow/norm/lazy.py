"""`LazyBatchNorm1d`, `LazyBatchNorm2d` and `LazyBatchNorm3d`: the number of channels comes with the first batch."""

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _LazyNormBase

from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d, EvenBatchNorm
from evenflow.norm.options import Options, refuse_unknown, weight_of_new_value


class _LazyEvenBatchNorm(_LazyNormBase, EvenBatchNorm):
    """What the three share: torch's lazy class makes parameters without a shape, ours declares the options."""

    _least_features: ClassVar[int] = 0
    _check_input_dim = EvenBatchNorm._check_input_dim

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        refuse_unknown(type(self).__name__, options.keys() - Options.__annotations__.keys())
        weight = weight_of_new_value(momentum, options.pop("momentum_of", "new"))
        bias = options.pop("bias", True)
        super().__init__(eps, weight, affine, track_running_stats, device, dtype)
        if not bias:
            self.register_parameter("bias", None)
        self._declare(options)

    def initialize_parameters(self, input: Tensor, *_: object, **__: object) -> None:  # noqa: A002 - torch's name
        """Give parameters and buffers the number of channels of the first batch.

        Raises:
            TensorShapeError: The batch has the wrong number of dimensions. The layer is still without a shape.
        """
        self._check_dims(input)
        super().initialize_parameters(input)
        if self.num_features == 0:  # a state dict gave the parameters their shape, or there are none
            known = self.weight if self.running_mean is None else self.running_mean
            self.num_features = input.shape[1] if known is None else len(known)
        self._widen()
        self._reset_group()


class LazyBatchNorm1d(_LazyEvenBatchNorm, nn.LazyBatchNorm1d):
    """`BatchNorm1d` whose number of channels is that of the first batch.

    Drop-in for `torch.nn.LazyBatchNorm1d`, with the options of `EvenBatchNorm`; the first batch makes it a
    `BatchNorm1d`.

    Examples:
        >>> layer = LazyBatchNorm1d(activation="relu")
        >>> layer(torch.randn(4, 3)).shape
        torch.Size([4, 3])
        >>> layer
        BatchNorm1d(3, ..., activation=relu)
    """

    cls_to_become = BatchNorm1d
    _allowed_dims = BatchNorm1d._allowed_dims


class LazyBatchNorm2d(_LazyEvenBatchNorm, nn.LazyBatchNorm2d):
    """`BatchNorm2d` whose number of channels is that of the first batch.

    Drop-in for `torch.nn.LazyBatchNorm2d`, with the options of `EvenBatchNorm`; the first batch makes it a
    `BatchNorm2d`.

    Examples:
        >>> LazyBatchNorm2d()(torch.randn(4, 3, 2, 2)).shape
        torch.Size([4, 3, 2, 2])
    """

    cls_to_become = BatchNorm2d
    _allowed_dims = BatchNorm2d._allowed_dims


class LazyBatchNorm3d(_LazyEvenBatchNorm, nn.LazyBatchNorm3d):
    """`BatchNorm3d` whose number of channels is that of the first batch.

    Drop-in for `torch.nn.LazyBatchNorm3d`, with the options of `EvenBatchNorm`; the first batch makes it a
    `BatchNorm3d`.

    Examples:
        >>> LazyBatchNorm3d()(torch.randn(4, 3, 2, 2, 2)).shape
        torch.Size([4, 3, 2, 2, 2])
    """

    cls_to_become = BatchNorm3d
    _allowed_dims = BatchNorm3d._allowed_dims
