"""Carry out one row: the only place where a plan touches a model."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from evenflow import init
from evenflow.errors import PlanError
from evenflow.init.sharded import by_whole, own, own_part, own_row, whole
from evenflow.planning.row import Row
from evenflow.random import Stream


@torch.no_grad()
def write(row: Row, tensor: Tensor, seed: int, tensors: Mapping[str, Tensor]) -> None:
    """Write a row's values into its tensor.

    Args:
        row: The row, which has been validated.
        tensor: Its tensor.
        seed: With the row's name the address of the draws.
        tensors: All tensors of the model by name; the weight that a balancing bias belongs to is read.
    """
    stream = Stream(seed, row.name)
    match row.rule:
        case "keep":
            return
        case "constant":
            init.constant_(tensor, row.number("value"))
        case "normal":
            init.normal_(tensor, row.number("mean"), row.number("std"), stream=stream)
            if "padding_idx" in row.options:
                own_row(tensor, int(row.number("padding_idx"))).fill_(0.0)
        case "uniform":
            init.uniform_(tensor, row.number("low"), row.number("high"), stream=stream)
        case "truncated_normal":
            bounds = row.number("low"), row.number("high")
            init.trunc_normal_(tensor, row.number("mean"), row.number("std"), *bounds, stream=stream)
        case "orthogonal":
            init.orthogonal_(tensor, row.number("gain"), blocks=row.blocks, stream=stream)
        case "delta_orthogonal":
            init.delta_orthogonal_(tensor, row.number("gain"), blocks=row.blocks, stream=stream)
        case "segments":
            by_whole(tensor, partial(_fill_segments, row.values))
        case "balance":
            _balance(row, tensor, stream, tensors)
        case _:
            raise PlanError(f"{row.name}: there is no rule {row.rule!r}")


def _fill_segments(values: tuple[float, ...], tensor: Tensor) -> None:
    for part, value in zip(tensor.chunk(len(values)), values, strict=True):
        part.fill_(value)


def _balance(row: Row, tensor: Tensor, stream: Stream, tensors: Mapping[str, Tensor]) -> None:
    weight = whole(tensors[str(row.options["weight"])])
    others = [place for place in range(weight.dim()) if place != row.dim]
    init.normal_(tensor, 0.0, row.number("std"), stream=stream)
    sums = weight.double().sum(others) if others else weight.double()
    shift = own_part(tensor, (row.number("mean") * sums).to(tensor.dtype))
    if shift.numel():
        own(tensor).sub_(shift)
