"""Gradient clipping: drop-in for torch.nn.utils, right for every input; and clippers that remember what they did."""

from evenflow.clip.adaptive import adaptive_clip_grad_
from evenflow.clip.adaptive_clipper import AdaptiveClipper
from evenflow.clip.auto_clipper import AutoClipper
from evenflow.clip.by_norm import clip_grad_norm_, clip_grads_with_norm_, get_total_norm
from evenflow.clip.by_value import clip_grad_value_
from evenflow.clip.clipper import Clipper
from evenflow.clip.norm_clipper import NormClipper
from evenflow.clip.per_example import PerExample, backward_per_example_
from evenflow.clip.report import ClipReport
from evenflow.clip.suggestion import Suggestion
from evenflow.clip.value_clipper import ValueClipper
from evenflow.clip.z_clipper import ZClipper

__all__ = [
    "AdaptiveClipper",
    "AutoClipper",
    "ClipReport",
    "Clipper",
    "NormClipper",
    "PerExample",
    "Suggestion",
    "ValueClipper",
    "ZClipper",
    "adaptive_clip_grad_",
    "backward_per_example_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]
