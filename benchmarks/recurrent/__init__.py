"""Vanilla recurrent networks on long sequences, with and without clipping."""
