import pytest

from evenflow import kernels


@pytest.fixture(autouse=True)
def by_numpy(monkeypatch):
    """Let the reference draw, however many the draws; `tests/kernels` compares the kernels with it."""
    monkeypatch.setattr(kernels, "find", lambda name, count: None)
