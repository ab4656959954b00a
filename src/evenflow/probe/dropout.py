"""Leave dropout out while a network is measured, so that its noise is not taken for signal."""

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

FUNCTIONS = {
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "alpha_dropout_", "feature_dropout",
    "feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_",
}  # fmt: skip


def switch_off(model: nn.Module) -> None:
    """Set dropout modules to evaluation mode, and the dropout inside attention and recurrent modules to zero.

    To be called where modes and attributes are restored; functional dropout is left to the tracer.
    """
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.training = False
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.dropout = 0.0
