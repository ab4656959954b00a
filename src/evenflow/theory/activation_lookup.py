"""Finding an activation in the catalogue by any of its names."""

import difflib
from functools import lru_cache

from evenflow import checks
from evenflow.errors import ParameterTypeError, ParameterValueError, UnknownActivationError
from evenflow.theory.activations import ACTIVATIONS, FAMILIES, Activation

_OTHER_NAMES = {
    **dict.fromkeys(("identity", "conv1d", "conv2d", "conv3d"), "linear"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "linear"),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu_tanh"),
    "swish": "silu",
    "relu2": "relu_squared",
    "logistic": "sigmoid",
}


def _squeeze(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


_CANONICAL = {_squeeze(name): name for name in (*ACTIVATIONS, *FAMILIES)}
_CANONICAL |= {_squeeze(other): name for other, name in _OTHER_NAMES.items()}


def activation_names() -> tuple[str, ...]:
    """Return the names in the catalogue, without their aliases.

    Examples:
        >>> "gelu" in activation_names()
        True
    """
    return (*ACTIVATIONS, *FAMILIES)


def activation(name: str, param: float | None = None) -> Activation:
    """Look an activation up by name; case, underscores, dashes and spaces do not matter.

    Args:
        name: A name of torch's, such as "leaky_relu" or "LeakyReLU", or an alias such as "swish".
        param: The negative slope of leaky_relu, prelu and rrelu, the alpha of elu and celu, the beta of
            softplus, the threshold of softshrink and hardshrink; torch's default if None. The rest take none.

    Returns:
        The function with its kinks.

    Raises:
        UnknownActivationError: The name is not in the catalogue.
        ParameterValueError: The activation has no parameter, or not with this value.
        ParameterTypeError: The name is not a string, or the parameter not a number.

    Examples:
        >>> import numpy as np
        >>> activation("LeakyReLU", 0.2).function(np.array([-1.0, 3.0]))
        array([-0.2,  3. ])
    """
    if not isinstance(name, str):
        raise ParameterTypeError(f"name must be a string such as 'relu'; got {name!r}")
    canonical = _CANONICAL.get(_squeeze(name))
    if canonical is None:
        raise UnknownActivationError(_unknown(name))
    if canonical in FAMILIES:
        return _of_family(canonical, param)
    if param is not None:
        raise ParameterValueError(f"param must be left out, {canonical} has none; got {param!r}")
    return ACTIVATIONS[canonical]


def _of_family(name: str, param: float | None) -> Activation:
    family = FAMILIES[name]
    if param is None:
        return _build(name, family.default)
    return _build(name, checks.real(f"param of {name}", param, low=family.low, open_low=family.open_low))


# The same object at every call, so that results can be cached by activation.
@lru_cache(maxsize=256)
def _build(name: str, param: float) -> Activation:
    return FAMILIES[name].build(name, param)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(_squeeze(name), _CANONICAL, n=3, cutoff=0.5)
    matches = list(dict.fromkeys(_CANONICAL[match] for match in close))
    hint = f"did you mean {' or '.join(matches)}?" if matches else f"known: {', '.join(activation_names())}."
    return f"no activation is known by the name {name!r}; {hint} A function can be passed instead of a name"
