"""What a layer has to know about the call that it is in."""

import torch


def is_recomputation() -> bool:
    """Tell whether this forward pass runs inside a backward pass, as gradient checkpointing makes it do."""
    # Compiled code recomputes without running this again.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def values_are_hidden() -> bool:
    """Tell whether this call is compiled or vectorised, so that nothing can be decided from values."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
