"""Follow the data through one forward pass: every layer, in the order in which it really ran.

The tracer sees each torch function that the model calls, whether a module or the model's own code called it, and
remembers of every tensor which layers it came from. A function that applies a parameter is a layer; a module that uses
its parameters by other means (a custom autograd function, its own arithmetic) is a layer as a whole.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from evenflow.errors import UnknownLayerError
from evenflow.probe.activations import dead_share, recognise, saturated_share
from evenflow.probe.batch import is_signal, tensors_in
from evenflow.probe.functions import JOIN, role_of, units_first
from evenflow.probe.moments import moments
from evenflow.probe.records import Activation, Moments
from evenflow.theory import Fans, fans


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor came from.

    `layers` are the last that it passed, `ancestors` all that it ever passed, as bits; it is `fresh` while no
    activation followed.
    """

    layers: tuple[int, ...] = ()
    ancestors: int = 0
    fresh: bool = False


@dataclass(slots=True)
class LayerCall:
    """What is known of one call of a layer; the gradient arrives in the backward pass."""

    index: int
    name: str
    kind: str
    role: str
    fans: Fans | None
    sources: tuple[int, ...]
    input: Moments | None
    output: Moments
    parameters: tuple[str, ...]
    unit_dim: int
    bypassed: bool = False
    normalised: bool = False
    activation: Activation | None = None
    gradient: Moments | None = None


@dataclass(slots=True)
class _Running:
    """A module that is being executed, and how many events there were before it."""

    module: nn.Module
    name: str
    events: int


class Tracer(TorchFunctionMode):
    """Records the layers of `model` while it is active as a context manager.

    Attributes:
        calls: The layers in execution order.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.calls: list[LayerCall] = []
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._running: list[_Running] = []
        self._events = 0
        self._reading = False
        self._origins: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._owned: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._measured: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._exits = ExitStack()
        for parameter in model.parameters():
            self._owned[parameter] = (self._names[id(parameter)],)

    def __enter__(self) -> "Tracer":
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule) and module is not self.model:
                continue
            before = module.register_forward_pre_hook(self._entered(name), with_kwargs=True, prepend=True)
            after = module.register_forward_hook(self._left, with_kwargs=True)
            self._exits.callback(before.remove)
            self._exits.callback(after.remove)
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves its modes untyped
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # as above
        self._exits.close()

    @property
    def place(self) -> str:
        """The module that is being executed, for messages: after an error, the one that raised it."""
        named = [f"{run.name} ({type(run.module).__name__})" for run in self._running if run.name]
        return named[-1] if named else type(self.model).__name__

    def start(self, inputs: Iterable[Tensor]) -> None:
        """Take these tensors as the network's input."""
        for tensor in inputs:
            self._origins[tensor] = Origin()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, and note what it did to the signal."""
        kwargs = kwargs or {}
        function = getattr(func, "__name__", "")
        if function in ("__get__", "__set__") or not self._running:
            return func(*args, **kwargs)
        operands = [*tensors_in(args), *tensors_in(kwargs)]
        signal = next((t for t in operands if t in self._origins and is_signal(t)), None)
        activation = recognise(function, args, kwargs) if signal is not None else None
        finish = self._activating(signal, *activation) if signal is not None and activation else None
        role = role_of(function)
        owned = tuple(dict.fromkeys(name for t in operands for name in self._owned.get(t, ())))
        layer = role is not None and (bool(owned) or (role == "norm" and signal is not None))
        only_owned = bool(owned) and not any(t in self._origins for t in operands)
        before = self._moments(signal) if layer and signal is not None else None
        origin = self._joined(operands, function in JOIN)
        result = func(*args, **kwargs)
        outputs = [t for t in tensors_in(result) if is_signal(t)]
        if not outputs:
            return result
        if layer and not (only_owned and role == "weight"):
            self._add_layer(function, str(role), owned, before, origin, outputs, units_first(function))
        elif only_owned:
            for tensor in outputs:
                self._owned[tensor] = owned
        elif origin is not None:
            after = finish(outputs[0], origin) if finish else origin
            for tensor in outputs:
                self._origins[tensor] = after
        return result

    def _moments(self, tensor: Tensor) -> Moments:
        known = self._measured.get(tensor)
        if known is None or known[0] != tensor._version:
            known = (tensor._version, moments(tensor, histogram=True))
            self._measured[tensor] = known
        found: Moments = known[1]
        return found

    def _joined(self, operands: list[Tensor], join: bool) -> Origin | None:
        origins = list(dict.fromkeys(self._origins[t] for t in operands if t in self._origins))
        if not origins:
            return None
        if len(origins) == 1:
            found: Origin = origins[0]
            return found
        everything = common = origins[0].ancestors
        for origin in origins[1:]:
            everything |= origin.ancestors
            common &= origin.ancestors
        if join:
            for index in _bits(everything & ~common):
                self.calls[index].bypassed = True
        layers = tuple(sorted({index for origin in origins for index in origin.layers}))
        return Origin(layers, everything, any(origin.fresh for origin in origins))

    def _activating(self, pre: Tensor, name: str, param: float | None) -> Callable[[Tensor, Origin], Origin] | None:
        """Measure a pre-activation before an in-place function overwrites it; the result measures what it became."""
        origin: Origin = self._origins[pre]
        self._events += 1
        if not origin.fresh or not origin.layers:
            return None
        call = self.calls[max(origin.layers)]
        if call.activation is not None:
            return None
        unit_dim = call.unit_dim if pre.dim() > 1 else 0
        measured = self._moments(pre)
        saturated, dead = saturated_share(name, pre), dead_share(name, pre, unit_dim)
        units = pre.shape[unit_dim] if pre.dim() else 1

        def finish(result: Tensor, joined: Origin) -> Origin:
            call.activation = Activation(name, param, measured, self._moments(result), saturated, dead, units)
            return Origin(joined.layers, joined.ancestors, fresh=False)

        return finish

    def _add_layer(
        self,
        function: str,
        role: str,
        owned: tuple[str, ...],
        before: Moments | None,
        origin: Origin | None,
        outputs: list[Tensor],
        channels: bool,
    ) -> None:
        origin = origin or Origin()
        index = len(self.calls)
        name, kind, module = self._identity(function, role, owned)
        output = outputs[0]
        if role == "norm" and origin.fresh:
            for source in origin.layers:
                self.calls[source].normalised = True
        matrix = [p for p in owned if self.model.get_parameter(p).dim() > 1]
        call = LayerCall(
            index=index,
            name=name,
            kind=kind,
            role=role,
            fans=self._fans(function, module, [*matrix, *owned]),
            sources=origin.layers,
            input=before,
            output=self._moments(output),
            parameters=tuple(dict.fromkeys([*matrix, *owned])),
            unit_dim=1 if channels else -1,
        )
        self.calls.append(call)
        self._events += 1
        for tensor in outputs:
            self._origins[tensor] = Origin((index,), origin.ancestors | 1 << index, fresh=role != "opaque")
        if output.requires_grad:
            output.register_hook(_receiver(call))

    def _identity(self, function: str, role: str, owned: tuple[str, ...]) -> tuple[str, str, nn.Module | None]:
        """Name the layer by its module, or by its parameter where the module holds several raw weights."""
        run = self._running[-1]
        matrices = [p for p in run.module.parameters() if p.dim() > 1]
        whole = role != "weight" or len(matrices) <= 1 or type(run.module).__module__.startswith("torch.nn.")
        if run.name and whole:
            return run.name, type(run.module).__name__, run.module
        return (owned[0] if owned else run.name or function), function, None

    def _fans(self, function: str, module: nn.Module | None, owned: list[str]) -> Fans | None:
        if module is not None:
            self._reading = True  # a parametrised weight is computed by modules when it is looked at
            try:
                return fans(module)
            except UnknownLayerError:
                pass
            finally:
                self._reading = False
        if not owned or function not in ("linear", "matmul", "__matmul__", "mm", "addmm"):
            return None
        shape = self.model.get_parameter(owned[0]).shape
        if len(shape) != 2:
            return None
        return Fans(shape[1], shape[0]) if function == "linear" else Fans(shape[0], shape[1])

    def _entered(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._reading:
                return
            if module is self.model and not self._running:
                self.start(t for t in [*tensors_in(args), *tensors_in(kwargs)] if is_signal(t))
            self._running.append(_Running(module, name, self._events))

        return hook

    def _left(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        if self._reading:
            return
        while self._running[-1].module is not module:
            self._running.pop()
        with torch._C.DisableTorchFunction():
            self._close(module, [*tensors_in(args), *tensors_in(kwargs)], list(tensors_in(result)))
        self._running.pop()

    def _close(self, module: nn.Module, inputs: list[Tensor], results: list[Tensor]) -> None:
        """Account for a module whose work the functions did not show."""
        outputs = [t for t in results if is_signal(t)]
        run = self._running[-1]
        own = tuple(self._names[id(p)] for p in module._parameters.values() if p is not None)
        silent = run.events == self._events
        unmapped = [t for t in outputs if t not in self._owned]
        if own and silent and unmapped:
            signal = next((t for t in inputs if t in self._origins and is_signal(t)), None)
            origin = self._joined(inputs, join=False)
            before = self._moments(signal) if signal is not None else None
            norm = "norm" in type(module).__name__.lower()
            channels = norm and "layer" not in type(module).__name__.lower()
            self._add_layer(type(module).__name__, "norm" if norm else "opaque", own, before, origin, outputs, channels)
            return
        origin = self._joined(inputs, join=False)
        for tensor in unmapped:
            if tensor not in self._origins and origin is not None:
                self._origins[tensor] = origin


def _receiver(call: LayerCall) -> Callable[[Tensor], None]:
    def receive(gradient: Tensor) -> None:
        with torch._C.DisableTorchFunction():
            call.gradient = moments(gradient, histogram=True)

    return receive


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
