import sys

import pytest

from evenflow.errors import MissingExtraError
from evenflow.lab.engines.ray import RayEngine


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'evenflow\[ray\]'"):
        RayEngine()
