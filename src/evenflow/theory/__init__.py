"""Pure mathematics of signal propagation: fans and gains, on NumPy alone.

Nothing here imports torch. Torch's modules are recognised by the names of their classes, and a torch
activation is called through the torch that its owner has already imported.
"""

from evenflow.theory.activation_lookup import activation, activation_names
from evenflow.theory.activations import Activation
from evenflow.theory.fan_pair import Fans
from evenflow.theory.gains import Gain, gain
from evenflow.theory.layer_fans import fans

__all__ = ["Activation", "Fans", "Gain", "activation", "activation_names", "fans", "gain"]
