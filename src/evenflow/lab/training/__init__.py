"""Small networks, and training them: one by one, or many replicas in one."""

from evenflow.lab.training.batches import batch_order
from evenflow.lab.training.data import load_split
from evenflow.lab.training.networks import ACTIVATIONS, cnn, initialise_, mlp
from evenflow.lab.training.recipe import Recipe, Run
from evenflow.lab.training.replicas import train_together
from evenflow.lab.training.single import accuracy, train

__all__ = [
    "ACTIVATIONS",
    "Recipe",
    "Run",
    "accuracy",
    "batch_order",
    "cnn",
    "initialise_",
    "load_split",
    "mlp",
    "train",
    "train_together",
]
