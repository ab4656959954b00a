"""Processes that share tensors and models, and what they do."""
