import torch
from hypothesis import settings

# The machine decides how long an example takes, so time is no property of the code.
settings.register_profile("evenflow", deadline=None)
settings.load_profile("evenflow")

# Test processes run side by side; more threads than cores make tiny operations ten times slower.
torch.set_num_threads(1)
