import pytest

from evenflow.errors import BatchError, LossError, ModelError
from evenflow.probe.guard import first_lines, told_as


def raise_guarded(error):
    with told_as(ModelError, lambda text: f"the model raised {text}"):
        raise error


@pytest.mark.parametrize(
    "error", [ValueError("x"), StopIteration("x"), MemoryError("x"), UserWarning("x"), RecursionError("x")]
)
def test_ordinary_errors_are_told_as_ours_with_their_cause(error):
    with pytest.raises(ModelError, match=f"the model raised {type(error).__name__}: x") as caught:
        raise_guarded(error)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BatchError("b"), LossError("l")]
)
def test_interrupts_and_our_own_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught:
        raise_guarded(error)
    assert caught.value is error
    assert caught.value.__cause__ is None


def test_without_an_error_nothing_happens():
    with told_as(ModelError, lambda text: text):
        pass


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(), "ValueError"),
        (ValueError("  \n"), "ValueError"),
        (ValueError("one"), "ValueError: one"),
        (ValueError("one\n   two\nthree"), "ValueError: one two"),
        (KeyError("key"), "KeyError: 'key'"),
        (ValueError("x" * 400), "ValueError: " + "x" * 300 + "..."),
    ],
)
def test_the_first_lines_of_an_error(error, text):
    assert first_lines(error) == text
