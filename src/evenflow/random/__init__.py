"""Addressed random numbers: a value is a function of (seed, name, element index), and of nothing else.

NumPy only. The same draws serve PyTorch, JAX and Keras.
"""

from evenflow.random.stream import Stream

__all__ = ["Stream"]
