import os

import pytest
from ranks.launch import launched

WORLDS = (1, 2, 3, 4)


@pytest.fixture(scope="session")
def ranks_of(tmp_path_factory):
    """What the processes of a group found, by their number: a list with one dictionary for each rank."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    found = {}

    def ranks(world):
        if world not in found:
            found[world] = launched(shared, world)
        return found[world]

    return ranks
