"""scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels in ten classes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evenflow import checks
from evenflow.errors import MissingExtraError

TEST = 360
ORDER_SEED = 0


@dataclass(frozen=True, slots=True)
class Split:
    """A training and a test set.

    Attributes:
        inputs: Training inputs, float32 of shape (N, features).
        targets: Training classes, int64 of shape (N,).
        test_inputs: Test inputs.
        test_targets: Test classes.
    """

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor


def digits() -> Split:
    """The digits in a fixed random order, standardised by the mean and standard deviation of the training pixels.

    Returns:
        1,437 training and 360 test samples of 64 features.

    Raises:
        MissingExtraError: scikit-learn, which carries the data, is not installed.

    Examples:
        >>> split = digits()
        >>> split.inputs.shape, split.test_targets.shape
        (torch.Size([1437, 64]), torch.Size([360]))
        >>> abs(float(split.inputs.mean())) < 1e-6
        True
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "the digits come with scikit-learn, which is not installed: pip install 'evenflow[lab]'"
        ) from error
    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(ORDER_SEED).permutation(len(pixels))
    train, test = order[:-TEST], order[-TEST:]
    mean, std = pixels[train].mean(), pixels[train].std()
    inputs = torch.from_numpy(((pixels - mean) / std).astype(np.float32))
    targets = torch.from_numpy(classes.astype(np.int64))
    return Split(inputs[train], targets[train], inputs[test], targets[test])


def digits_batch(samples: int = 256, *, images: bool = False) -> tuple[Tensor, Tensor]:
    """The first training samples as one batch.

    Args:
        samples: Number of samples, from 1 to 1,437.
        images: Whether the inputs have shape (N, 1, 8, 8), for convolutions, and not (N, 64).

    Returns:
        Inputs and targets.

    Raises:
        ParameterTypeError: `samples` is not an integer.
        ParameterValueError: `samples` is out of range.
        MissingExtraError: scikit-learn, which carries the data, is not installed.

    Examples:
        >>> inputs, targets = digits_batch(32, images=True)
        >>> inputs.shape, targets.shape
        (torch.Size([32, 1, 8, 8]), torch.Size([32]))
    """
    split = digits()
    checks.integer("samples", samples, low=1, high=len(split.inputs))
    inputs = split.inputs[:samples]
    return (inputs.reshape(-1, 1, 8, 8) if images else inputs), split.targets[:samples]
