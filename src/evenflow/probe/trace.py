"""Follow the data through one forward pass: every layer, in the order in which it really ran.

The tracer sees each torch function that the model calls, whether a module or the model's own code called it, and
remembers of every tensor which layers it came from. A function that applies a parameter is a layer; a module that uses
its parameters by other means (a custom autograd function, its own arithmetic) is a layer as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from evenflow.probe import dropout
from evenflow.probe.activations import dead_share, recognise, saturated_share
from evenflow.probe.batch import is_signal, tensors_in
from evenflow.probe.calls import LayerCall, samples_first
from evenflow.probe.flow import Flow, Origin
from evenflow.probe.functions import (
    ALGEBRA,
    LOOKUPS,
    SUM,
    fans_of_einsum,
    fans_of_matrix,
    joined_paths,
    role_of,
    unit_dim_of,
)
from evenflow.probe.gates import GATES, PRODUCTS, product_of
from evenflow.probe.moments import moments
from evenflow.probe.records import Activation, Moments
from evenflow.probe.running import ModuleStack, Run
from evenflow.theory import Fans

# What the functions inside a transform of torch.func are told as.
TRANSFORM = "a transform of torch.func"


class Step:
    """One call of a torch function.

    Attributes:
        name: The function's name.
        operands: Every tensor among its arguments.
    """

    def __init__(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.name: str = getattr(func, "__name__", "")
        self.func, self.args, self.kwargs = func, args, kwargs
        self.operands = [*tensors_in(args), *tensors_in(kwargs)]

    def run(self) -> Any:
        """Call the function; a dropout lets everything through."""
        if self.name in dropout.FUNCTIONS:
            return self.operands[0] if self.name.endswith("_") else self.operands[0].clone()
        return self.func(*self.args, **self.kwargs)

    def outputs(self, result: Any) -> list[Tensor]:
        """The tensors that it wrote, given what it returned."""
        return list(tensors_in(self.args[0] if self.name == "__setitem__" else result))


class Tracer(TorchFunctionMode):
    """Records the layers of `model` while it is active as a context manager.

    Attributes:
        calls: The layers in execution order.
        flow: What is known of the tensors.
        stack: The modules that are being executed.
        functions: The functions that the signal passed beside layers and activations, each with the first module that
            called it.
        uses: The first such function that a parameter met the signal in, by the parameter's name.
        lost: Indices of the layers that read what nothing in sight made.
    """

    def __init__(self, model: nn.Module, *, histograms: bool = True) -> None:
        super().__init__()
        self.model = model
        self.calls: list[LayerCall] = []
        self.flow = Flow(model)
        self.stack = ModuleStack(model)
        self.functions: dict[str, str] = {}
        self.uses: dict[str, str] = {}
        self.lost: list[int] = []
        self._histograms = histograms
        self._parameters = dict(model.named_parameters())
        self._names = {id(parameter): name for name, parameter in self._parameters.items()}
        self._single: dict[int, bool] = {}
        self._events = 0
        self._measured: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._exits = ExitStack()

    def __enter__(self) -> "Tracer":
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its inside cannot be seen anyway
                continue
            before = module.register_forward_pre_hook(self._entering(name), with_kwargs=True, prepend=True)
            after = module.register_forward_hook(self._left, with_kwargs=True, always_call=True)
            self._exits.callback(before.remove)
            self._exits.callback(after.remove)
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves its modes untyped
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # as above
        self._exits.close()
        self.stack.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`, and note what it did to the signal."""
        if not self.stack:
            return func(*args, **(kwargs or {}))
        if _is_transforming():
            self.functions.setdefault(TRANSFORM, self.stack.innermost.name)
            return func(*args, **(kwargs or {}))
        step = Step(func, args, kwargs or {})
        role = self._role(step)
        if role is not None:
            return self._run_layer(step, role)
        signal = self._signal(step)
        if signal is not None and (activation := recognise(step.name, step.args, step.kwargs)):
            return self._run_activation(step, signal, *activation)
        if step.name in PRODUCTS and (gated := self._gated(step)) is not None:
            return self._run_product(step, *gated)
        return self._run_other(step)

    def _signal(self, step: Step) -> Tensor | None:
        return next((t for t in step.operands if is_signal(t) and not self.flow.is_owned(t)), None)

    def _role(self, step: Step) -> str | None:
        """The role of the layer that a function makes; None when it makes none, or a weight out of weights."""
        role = "embedding" if self._is_looked_up(step) else role_of(step.name)
        if role is None or (step.name in ALGEBRA and all(self.flow.is_owned(t) for t in step.operands)):
            return None
        return role if role == "norm" or self.flow.owners(step.operands) else None

    def _is_looked_up(self, step: Step) -> bool:
        """Whether a function picks rows of a parameter by numbers that come from outside, as an embedding does."""
        if step.name not in LOOKUPS or len(step.operands) < 2:
            return False
        table, *others = step.operands
        if id(table) not in self._names or table.dim() < 2:
            return False
        return any(t.dtype in (torch.int32, torch.int64) and not self.flow.is_owned(t) for t in others)

    def _run_layer(self, step: Step, role: str) -> Any:
        read = self._read(step, role)
        running = self.stack.innermost.module
        swapped = isinstance(running, nn.MultiheadAttention) and running.batch_first
        before = None if read is None else self._moments(samples_first(read, swapped))
        weights = [t for t in step.operands if t is not read]
        names = self._weights_first(self.flow.owners(weights))
        result = self.run_layer(step, names)
        outputs = [t for t in step.outputs(result) if is_signal(t)]
        if not outputs:
            return result
        origin = self.flow.merged(step.operands) or Origin()
        if read is not None and self.flow.is_lost(read):
            self.lost.append(len(self.calls))
        name, kind, module = self._identity(step.name, role, names)
        call = LayerCall(
            index=len(self.calls),
            name=name,
            kind=kind,
            role=role,
            module=module,
            matrix_fans=None if read is None else self._matrix_fans(step, read),
            sources=origin.layers,
            input=before,
            output=self._moments(samples_first(outputs[0], swapped)),
            parameters=names,
            linear_input=origin.fresh,
            swapped=swapped,
            unit_dim=unit_dim_of(step.name),
        )
        self._add(call, origin, outputs)
        return result

    def run_layer(self, step: Step, names: tuple[str, ...]) -> Any:  # noqa: ARG002  # for those that override it
        """Run the function that applies the parameters `names`; the result is what the layer gives."""
        return step.run()

    def _read(self, step: Step, role: str) -> Tensor | None:
        """What a layer reads: a signal, or else the learned queries or constants that it is applied to."""
        signal = self._signal(step)
        if signal is not None or role == "embedding":
            return signal
        first = step.operands[0]
        return first if is_signal(first) else None

    def _run_activation(self, step: Step, pre: Tensor, name: str, param: float | None) -> Any:
        """Measure a pre-activation before an in-place function overwrites it."""
        self._events += 1
        origin = self.flow.merged(step.operands) or Origin()
        if not origin.fresh:
            return self._run_other(step)
        waiting = [self.calls[index] for index in origin.layers if self.calls[index].activation is None]
        return self._activate(step, waiting[-1] if waiting else None, pre, name, param, origin)

    def _activate(
        self, step: Step, call: LayerCall | None, pre: Tensor, name: str, param: float | None, origin: Origin
    ) -> Any:
        unit_dim = call.unit_dim if call is not None and pre.dim() > 1 else 0
        before, units = self._moments(pre), pre.shape[unit_dim] if pre.dim() else 1
        saturated, dead = saturated_share(name, pre), dead_share(name, pre, unit_dim)
        result = step.run()
        if call is not None:
            call.activation = Activation(name, param, before, self._moments(result), saturated, dead, units)
        self.flow.put([result], Origin(origin.layers, origin.ancestors))
        return result

    def _gated(self, step: Step) -> tuple[LayerCall, Tensor, Tensor] | None:
        """The layer whose output a product joins with a gate made of it, the output and the gate."""
        origins = [self.flow.origin(tensor) for tensor in step.operands]
        fresh = [t for t, origin in zip(step.operands, origins, strict=True) if origin is not None and origin.fresh]
        gates = [t for t, origin in zip(step.operands, origins, strict=True) if origin is not None and not origin.fresh]
        if len(fresh) != 1 or len(gates) != 1 or fresh[0].shape != gates[0].shape or not is_signal(fresh[0]):
            return None
        paths = [origin.layers for origin in origins if origin is not None]
        known = [self.calls[index] for index in paths[0]]
        found = [call for call in known if call.activation is not None and call.activation.name in GATES]
        return (found[-1], fresh[0], gates[0]) if paths[0] == paths[1] and found else None

    def _run_product(self, step: Step, call: LayerCall, output: Tensor, gate: Tensor) -> Any:
        """Take a gate together with what it multiplies for the activation that they make."""
        with torch._C.DisableTorchFunction():
            made = product_of(output, gate)
        if made is None:
            call.gated = True
            return self._run_other(step)
        name, multiple = made
        with torch._C.DisableTorchFunction():
            pre = output.detach() * multiple if multiple > 1 else output
        origin = self.flow.merged(step.operands) or Origin()
        return self._activate(step, call, pre, name, None, origin)

    def _run_other(self, step: Step) -> Any:
        result = step.run()
        outputs = step.outputs(result)
        if outputs:
            self._note(step)
            paths, summed = joined_paths(step.name, step.operands, outputs[0]), step.name in SUM
            broadcast = [t for t in step.operands if t.shape != outputs[0].shape and self._is_embedded(t)]
            self.flow.join(paths, summed=summed, broadcast=broadcast if summed else ())
            self.flow.pass_on(step.operands, outputs)
        return result

    def _is_embedded(self, tensor: Tensor) -> bool:
        origin = self.flow.origin(tensor)
        return origin is not None and {self.calls[index].role for index in origin.layers} == {"embedding"}

    def _note(self, step: Step) -> None:
        """Remember which functions the signal passed, and where; and which met a parameter that makes no layer."""
        if self._signal(step) is not None:
            self.functions.setdefault(step.name, self.stack.innermost.name)
            for name in self.flow.owners(step.operands):
                self.uses.setdefault(name, step.name)

    def _add(self, call: LayerCall, origin: Origin, outputs: Sequence[Tensor]) -> None:
        if call.role == "norm" and origin.fresh:
            for source in origin.layers:
                self.calls[source].normalised = True
        self.calls.append(call)
        self._events += 1
        self.flow.put(outputs, Origin((call.index,), origin.ancestors | 1 << call.index, fresh=call.role != "opaque"))
        for place, output in enumerate(outputs):
            if output.requires_grad:
                output.register_hook(partial(call.receive, place))

    def _moments(self, tensor: Tensor) -> Moments:
        version = -1 if tensor.is_inference() else tensor._version
        known: tuple[int, Moments] | None = self._measured.get(tensor)
        if known is None or known[0] != version:
            known = (version, moments(tensor, histogram=self._histograms))
            self._measured[tensor] = known
        return known[1]

    def _identity(self, function: str, role: str, names: tuple[str, ...]) -> tuple[str, str, nn.Module | None]:
        """Name the layer by its module, or by its parameter where the module holds several raw weights."""
        run = self.stack.innermost
        whole = role != "weight" or self._is_single(run.module)
        if run.name and whole:
            return run.name, type(run.module).__name__, run.module
        return (names[0] if names else run.name or function), function, run.module if whole else None

    def _is_single(self, module: nn.Module) -> bool:
        """Whether a module makes one layer: torch's own do, others where they hold one matrix."""
        if id(module) not in self._single:
            of_torch = type(module).__module__.startswith("torch.nn.")
            self._single[id(module)] = of_torch or sum(p.dim() > 1 for p in module.parameters()) <= 1
        return self._single[id(module)]

    def _weights_first(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(names, key=lambda name: self._parameters[name].dim() < 2))

    def _matrix_fans(self, step: Step, read: Tensor) -> Fans | None:
        places = {id(tensor): place for place, tensor in enumerate(step.operands)}
        owned = [t for t in step.operands if t.dim() > 1 and t is not read and self.flow.is_owned(t)]
        if not owned:
            return None
        place = places[id(owned[0])]
        if step.name == "einsum":
            return fans_of_einsum(step.args[0], owned[0].shape, place)
        return fans_of_matrix(step.name, owned[0].shape, leads=place < places[id(read)])

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self.stack:
                inputs = [*tensors_in(args), *tensors_in(kwargs)]
                self.flow.put(filter(is_signal, inputs), Origin())
            self.stack.enter(name, module, calls=len(self.calls), events=self._events)

        return hook

    def _left(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        run = self.stack.leave(module)
        if run is None or _is_transforming():
            return
        with torch._C.DisableTorchFunction():
            self._account(run, [*tensors_in(args), *tensors_in(kwargs)], list(tensors_in(result)))

    def _account(self, run: Run, inputs: list[Tensor], results: list[Tensor]) -> None:
        """Account for a module whose work the functions did not show."""
        given = {id(tensor) for tensor in inputs}
        made = [t for t in results if is_signal(t) and id(t) not in given and not self.flow.is_owned(t)]
        own = tuple(self._names[id(p)] for p in run.module._parameters.values() if id(p) in self._names)
        if own and made and run.events == self._events:
            self._add_module(run, own, inputs, made)
        elif isinstance(run.module, _NormBase) and made and {c.role for c in self.calls[run.calls :]} == {"norm"}:
            self._unite(run, inputs, made[0])
        else:
            self.flow.pass_on(inputs, [t for t in made if self.flow.origin(t) is None])

    def _add_module(self, run: Run, own: tuple[str, ...], inputs: list[Tensor], outputs: list[Tensor]) -> None:
        signal = next(filter(is_signal, inputs), None)
        origin = self.flow.merged(inputs) or Origin()
        names = self._weights_first(own)
        kind = type(run.module).__name__
        norm = "norm" in kind.lower()
        by_channel = any(word in kind.lower() for word in ("batch", "group", "instance"))
        call = LayerCall(
            index=len(self.calls),
            name=run.name or names[0],
            kind=kind,
            role="norm" if norm else "opaque",
            module=run.module,
            matrix_fans=None,
            sources=origin.layers,
            input=None if signal is None else self._moments(signal),
            output=self._moments(outputs[0]),
            parameters=names,
            unit_dim=1 if by_channel else -1,
        )
        self._add(call, origin, outputs)

    def _unite(self, run: Run, inputs: list[Tensor], output: Tensor) -> None:
        """Make one layer of a normalisation, which may have tried one way to compute before it took another."""
        call = self.calls[-1]
        call.index = run.calls
        self.calls[run.calls :] = [call]
        call.output = call.activation.input if call.activation else self._moments(output)
        ancestors = (self.flow.merged(inputs) or Origin()).ancestors | 1 << call.index
        self.flow.put([output], Origin((call.index,), ancestors, fresh=call.activation is None))


def _is_transforming() -> bool:
    """Whether a transform of `torch.func` runs: its tensors stand for several and have no values of their own."""
    return torch._C._functorch.peek_interpreter_stack() is not None
