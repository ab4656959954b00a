import sys
from hashlib import sha256

import numpy as np
import pytest
import torch

from evenflow.data import BUILT_IN, built_in, digits, digits_batch
from evenflow.errors import MissingExtraError, ParameterTypeError, ParameterValueError

HASHES = {
    "inputs": "6d81a61e09c59cc7",
    "targets": "b62c5684e8251c8e",
    "test_inputs": "7f85387a8cfab988",
    "test_targets": "5cdf6153e06c5478",
}


@pytest.fixture(scope="module")
def split():
    return digits()


@pytest.fixture(scope="module")
def raw():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


@pytest.mark.parametrize("name", HASHES)
def test_the_split_is_the_same_bits_every_time(split, name):
    assert sha256(getattr(split, name).numpy().tobytes()).hexdigest()[:16] == HASHES[name]


def test_no_torch_or_numpy_random_state_decides_or_moves(split):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert torch.equal(digits().inputs, split.inputs)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_training_and_test_set_share_no_image(split):
    rows = [{row.numpy().tobytes() for row in inputs} for inputs in (split.inputs, split.test_inputs)]
    assert len(rows[0]) == 1437
    assert len(rows[1]) == 360
    assert not rows[0] & rows[1]


def test_every_image_keeps_its_class(split, raw):
    pixels, classes = raw
    # Standardising is a monotone map of 17 grey values, so it is undone by their ranks.
    class_of = {image.tobytes(): digit for image, digit in zip(pixels.astype(np.int64), classes, strict=True)}
    levels = split.inputs.unique()
    images = torch.searchsorted(levels, split.inputs).numpy()
    assert len(levels) == 17
    assert [class_of[image.tobytes()] for image in images] == split.targets.tolist()


def test_the_training_pixels_alone_standardise_both_sets(split, raw):
    # float32 rounds values of order 1 to 6e-8; the mean over 92k of them is far better.
    assert split.inputs.double().mean().abs() < 1e-6
    assert abs(split.inputs.double().std(correction=0) - 1) < 1e-6
    assert split.test_inputs.mean().abs() > 1e-4
    std = raw[0].std()
    assert (split.inputs.unique() - split.test_inputs.unique()).abs().max() == 0
    assert float(split.inputs.unique().diff().mean()) == pytest.approx(1 / std, rel=0.01)


@pytest.mark.parametrize(("targets", "low", "high"), [("targets", 0.09, 0.11), ("test_targets", 0.07, 0.14)])
def test_every_class_has_about_a_tenth_of_either_set(split, targets, low, high):
    shares = torch.bincount(getattr(split, targets), minlength=10) / len(getattr(split, targets))
    assert shares.min() >= low
    assert shares.max() <= high


def test_dtypes_are_what_a_classifier_wants(split):
    assert split.inputs.dtype == split.test_inputs.dtype == torch.float32
    assert split.targets.dtype == split.test_targets.dtype == torch.int64


def test_a_batch_is_the_first_training_samples(split):
    inputs, targets = digits_batch(100)
    assert torch.equal(inputs, split.inputs[:100])
    assert torch.equal(targets, split.targets[:100])


def test_images_are_the_same_pixels():
    assert torch.equal(digits_batch(9, images=True)[0].flatten(1), digits_batch(9)[0])


@pytest.mark.parametrize("samples", [0, -1, 1438])
def test_a_number_of_samples_out_of_range_is_refused(samples):
    with pytest.raises(ParameterValueError, match=r"samples must be an integer in \[1, 1437\]"):
        digits_batch(samples)


def test_a_number_of_samples_that_is_no_integer_is_refused():
    with pytest.raises(ParameterTypeError, match="samples"):
        digits_batch(2.5)


@pytest.mark.parametrize(("name", "shape"), [("digits", (256, 64)), ("digits-images", (256, 1, 8, 8))])
def test_built_in_sets_go_by_name(name, shape):
    inputs, targets = built_in(name)
    assert name in BUILT_IN
    assert inputs.shape == shape
    assert targets.shape == (256,)


def test_an_unknown_set_is_refused():
    with pytest.raises(ParameterValueError, match="'digits', 'digits-images'; got 'mnist'"):
        built_in("mnist")


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'evenflow\[lab\]'"):
        digits()
