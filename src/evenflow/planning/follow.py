"""Follow a batch through a model: which layers there are, in which order, and what lies between them."""

from collections.abc import Iterator

from torch import nn

from evenflow.planning.known import KNOWN
from evenflow.planning.layer import Layer, Network
from evenflow.planning.sums import weigh_sums
from evenflow.probe.batch import Batch
from evenflow.probe.calls import LayerCall
from evenflow.probe.forward import forward
from evenflow.probe.trace import Tracer


def follow(model: nn.Module, batch: Batch) -> Network:
    """Run the model once on the batch, and describe what was seen.

    To be called where the model is restored afterwards.

    Raises:
        ModelError: The model raises, or uses no parameter.
    """
    tracer = Tracer(model, histograms=False)
    forward(model, batch, tracer)
    read = {source for call in tracer.calls for source in call.sources}
    read |= {index - 1 for index in tracer.lost}  # most likely, what went out of sight came from there
    layers = [_layer(call, last=call.index not in read, lost=call.index in tracer.lost) for call in tracer.calls]
    network = Network(model, layers, uses=tracer.uses, traced=True)
    network.unknown.extend(_unknown(tracer))
    weigh_sums(network, tracer.flow.joins)
    _share_between_calls(layers)
    return network


def _layer(call: LayerCall, *, last: bool, lost: bool) -> Layer:
    activation = None if call.gated else call.activation
    return Layer(
        name=call.name,
        kind=call.kind,
        role=call.role,
        module=call.module,
        parameters=call.parameters,
        fans=call.fans(),
        sources=call.sources,
        input_rms=None if call.sources or call.input is None else _size(call.input.rms),
        activation=None if activation is None else (activation.name, activation.param),
        normalised=call.normalised,
        last=last and call.role == "weight",
        lost=lost,
    )


def _size(rms: float) -> float:
    """One for an input of zeros, whose size says nothing."""
    return rms if rms > 0 else 1.0


def _unknown(tracer: Tracer) -> Iterator[str]:
    for name in dict.fromkeys(tracer.calls[index].name for index in tracer.lost):
        yield f"{name}: it reads what no function in sight made, but a scripted one, or NumPy; or it is a constant"
    for function, place in tracer.functions.items():
        if function not in KNOWN:
            where = f" in {place}" if place else ""
            yield f"{function}{where}: it is not known what this function does to the size of a signal"


def _share_between_calls(layers: list[Layer]) -> None:
    """A layer that is called several times has one weight: the strictest of its calls decides."""
    first: dict[str, Layer] = {}
    for layer in layers:
        known = first.setdefault(layer.name, layer)
        known.share = min(known.share, layer.share)
        known.sums = max(known.sums, layer.sums)
        known.last = known.last and layer.last
    for layer in layers:
        known = first[layer.name]
        layer.share, layer.sums, layer.last = known.share, known.sums, known.last
