import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads cost small tensors more than they save, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
