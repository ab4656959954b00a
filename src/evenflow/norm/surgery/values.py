"""Whether a model can be run at all."""

from torch import nn
from torch.nn.parameter import is_lazy

from evenflow.errors import ModelError


def require_values(model: nn.Module) -> None:
    """Refuse a model that has tensors without values.

    Raises:
        ModelError: A parameter or buffer is lazy or lies on the meta device.

    Examples:
        >>> require_values(nn.Linear(2, 2))
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(f"the model cannot be run and restored: {name} is lazy. Run it once on one batch first")
        if tensor.is_meta:
            raise ModelError(
                f"the model cannot be run: {name} lies on the meta device and has no values. Materialise it first, as "
                "with model.to_empty(device='cpu')"
            )
