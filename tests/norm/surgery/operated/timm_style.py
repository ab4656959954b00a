"""Layers in the style of timm's `BatchNormAct2d`: a BatchNorm with the modules `drop` and `act`."""

from torch import nn
from torch.nn import functional as F


class BatchNormAct2d(nn.BatchNorm2d):
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, act=None, drop=None
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.drop = nn.Identity() if drop is None else drop
        self.act = nn.ReLU(inplace=True) if act is None else act

    def forward(self, x):
        self._check_input_dim(x)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        of_batch = self.training or self.running_mean is None
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, of_batch, self.momentum or 0.0, self.eps
        )
        return self.act(self.drop(x))


class Treacherous(BatchNormAct2d):
    """Has the same parts and computes something else."""

    def forward(self, x):
        return super().forward(self.act(x))
