import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("draw_statistics", Path(__file__).with_name("battery.py"))
BATTERY = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = BATTERY
SPEC.loader.exec_module(BATTERY)


@pytest.fixture(scope="session")
def battery():
    """The tests of randomness."""
    return BATTERY
