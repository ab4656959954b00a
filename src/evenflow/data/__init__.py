"""Real data that is there without a download."""

from evenflow.data.digits import Split, digits, digits_batch
from evenflow.data.named import BUILT_IN, built_in

__all__ = ["BUILT_IN", "Split", "built_in", "digits", "digits_batch"]
