"""The fans of a layer or of a bare weight."""

from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError, UnknownLayerError
from evenflow.theory.fan_pair import Fans, shape_fans
from evenflow.theory.fan_rules import find_rule
from evenflow.theory.recognition import is_lazy, is_module


def fans(module_or_tensor: object, name: str = "weight") -> Fans:
    r"""Return the fan-in and fan-out of a layer's weight, as forward and backward variance see them.

    $$
    \mathrm{Var}(y) = \text{fan\_in} \, \mathrm{Var}(w) \, \mathbb{E}[x^2], \qquad
    \mathrm{Var}(\delta x) = \text{fan\_out} \, \mathrm{Var}(w) \, \mathbb{E}[\delta y^2],
    $$

    away from padded borders. The rules, with $k$ the product of the kernel and $s$ of the stride:

    | layer | fan-in | fan-out |
    |---|---|---|
    | Linear, transformers' Conv1D | in | out |
    | Bilinear (fan-out: towards the first input) | in1 in2 | out in2 |
    | Conv1d to Conv3d | in k / groups | out k / (groups s) |
    | ConvTranspose1d to 3d | in k / (groups s) | out k / groups |
    | Embedding, EmbeddingBag | 1 | embedding size |
    | RNN, LSTM, GRU and their cells | size of that input | hidden size, for each gate |
    | MultiheadAttention, packed or not | size of that input | embedding size, for each of q, k and v |
    | normalisation layers, PReLU | 1 | 1 |

    A dimension of size zero is counted as what it is, and gives a fan of 0.0.

    Args:
        module_or_tensor: A layer, or a weight. For a weight (anything with a `shape`) torch's convention for
            shapes is used: outputs first, inputs second, then the receptive field.
        name: Which parameter of the layer. "weight" also stands for the first input weight of a layer that
            has several, such as `weight_ih_l0` of an LSTM.

    Returns:
        A pair of floats with the fields `fan_in` and `fan_out`.

    Raises:
        UnknownLayerError: No rule is known for this type of layer.
        TensorShapeError: The weight has fewer than two dimensions, or is lazy and has no shape yet.
        ParameterValueError: The layer has no weight of that name.
        ParameterTypeError: It is neither a layer nor a weight.

    Examples:
        >>> from torch import nn
        >>> fans(nn.Conv2d(64, 64, 3, stride=2, groups=64))
        Fans(fan_in=9.0, fan_out=2.25)
        >>> fans(nn.LSTM(10, 20, num_layers=2, bidirectional=True), "weight_ih_l1")
        Fans(fan_in=40.0, fan_out=20.0)

    References:
        Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks",
        equations 5 and 6. He et al. (2015), "Delving deep into rectifiers", equations 7 and 13.
    """
    kind = type(module_or_tensor).__name__
    if is_lazy(module_or_tensor):
        raise TensorShapeError(
            f"{kind} has no shape before its first input; run one batch through the model, then ask again"
        )
    if is_module(module_or_tensor):
        return _of_layer(module_or_tensor, name)
    shape = getattr(module_or_tensor, "shape", None)
    if shape is None:
        raise ParameterTypeError(f"module_or_tensor must be a layer or have a shape; got {kind}")
    if name != "weight":
        raise ParameterValueError(f"name selects a parameter of a layer; got {name!r} with a {kind}: leave it out")
    return shape_fans(shape)


def _of_layer(layer: object, name: str) -> Fans:
    kind = type(layer).__name__
    rule = find_rule(layer)
    if rule is None:
        raise UnknownLayerError(
            f"no fan rule is known for {kind}; pass one of its layers, or its weight tensor to use torch's "
            "convention for shapes: fans(layer.weight)"
        )
    known = rule(layer)
    chosen = next(iter(known)) if name == "weight" and name not in known else name
    if chosen not in known or getattr(layer, chosen, None) is None:
        present = [key for key in known if getattr(layer, key, None) is not None]
        raise ParameterValueError(
            f"name must be one of the weights of this {kind}: {', '.join(present) or 'it has none'}; got {name!r}"
        )
    return known[chosen]
