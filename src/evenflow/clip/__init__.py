"""Gradient clipping, drop-in for torch.nn.utils, right for every input and open about NaN and infinity."""

from evenflow.clip.by_norm import clip_grad_norm_, clip_grads_with_norm_, get_total_norm
from evenflow.clip.by_value import clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]
