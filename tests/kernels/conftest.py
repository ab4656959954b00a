import sys
from importlib.util import module_from_spec, spec_from_file_location

import numba
import pytest

from evenflow.kernels import draws


@pytest.fixture(scope="session")
def plain_draws():
    """The module of the loops with the compiler off."""
    spec = spec_from_file_location("plain_draws", draws.__file__)
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module
