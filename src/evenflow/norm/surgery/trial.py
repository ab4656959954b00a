"""Run a model on a batch and compare what came out before and after a change."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evenflow.errors import ModelError, NonFiniteError, TreatmentError
from evenflow.norm.surgery.values import require_values
from evenflow.probe.batch import Batch, is_signal, tensors_in
from evenflow.probe.guard import told_as
from evenflow.probe.preserve import preserved

_NOISE_STEPS = 4
_TIMES_NOISE = 30.0
# An argument of a ReLU that rounding carries across zero moves a gradient by a hundredth of its size, now and then.
# Where a gradient is off, more noise looks for such steps, and by how much they move it counts a few times.
_MORE_NOISES, _TIMES_STEPS, _GRADIENT = 8, 3.0, "gradient of "


@dataclass(frozen=True)
class Trial:
    """What a model computes in one mode: outputs, gradients of a fixed function of them, buffers afterwards."""

    tensors: Mapping[str, Tensor]


def observe(
    model: nn.Module,
    batch: Batch,
    *,
    training: bool,
    gradients: bool = True,
    buffers: bool = True,
    noise: int = 0,
) -> Trial:
    """Run the model forward and backward on the batch, and leave it as it was.

    Args:
        model: The model.
        batch: The batch.
        training: The mode.
        gradients: Whether gradients are computed.
        buffers: Whether buffers are among what was computed.
        noise: From 1 on, every parameter is moved by a few units in its last place, to see what rounding may do;
            another number is other noise.

    Raises:
        ModelError: The model raises.
    """
    require_values(model)
    message = f"the model raised {{}} on inputs {batch.describe()}; does the batch fit the model?"
    with preserved(model), told_as(ModelError, message.format):
        model.train(training)
        if noise:
            _shake(model, noise)
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            output = batch.run(model)
            found = {f"output {place}": t for place, t in enumerate(tensors_in(output)) if is_signal(t)}
            if gradients:
                found |= _gradients(model, list(found.values()))
        if buffers:
            found |= {f"buffer {name}": buffer for name, buffer in model.named_buffers() if is_signal(buffer)}
        return Trial({name: tensor.detach().clone() for name, tensor in found.items()})


def _gradients(model: nn.Module, outputs: list[Tensor]) -> dict[str, Tensor]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    differentiable = [output for output in outputs if output.requires_grad]
    if not differentiable or not trained:
        return {}
    directions = [_direction(output) for output in differentiable]
    found = torch.autograd.grad(differentiable, list(trained.values()), directions, allow_unused=True)
    return {_GRADIENT + name: g for name, g in zip(trained, found, strict=True) if g is not None}


def _direction(output: Tensor, number: int = 1) -> Tensor:
    """A fixed direction that no symmetry of the output is orthogonal to."""
    places = torch.arange(output.numel(), device=output.device, dtype=torch.float32)
    return torch.cos(places * 1.7 + 0.3 * number).to(output.dtype).reshape(output.shape)


def _shake(model: nn.Module, number: int) -> None:
    for parameter in model.parameters():
        if is_signal(parameter):
            steps = _direction(parameter.detach(), number).sign() * _NOISE_STEPS * torch.finfo(parameter.dtype).eps
            parameter.data = parameter.data * (1 + steps)


def deviation(before: Trial, after: Trial) -> Iterator[tuple[str, float]]:
    """How far each tensor is from what it was, relative to its size."""
    for name, old in before.tensors.items():
        new = after.tensors.get(name)
        if new is None or new.shape != old.shape:
            yield name, float("inf")
            continue
        wide = torch.complex128 if old.is_complex() else torch.float64
        a, b = old.to(wide), new.to(wide)
        size = max(float(a.norm()), 1e-6 * float(a.numel()) ** 0.5)
        apart = float((a - b).nan_to_num(posinf=0.0, neginf=0.0).norm())
        yield name, float("inf") if not torch.equal(a.isfinite(), b.isfinite()) else apart / size


class Yardstick:
    """What a model computes before a change, and how much of a difference rounding alone can make.

    Args:
        model: The model.
        batch: What it is run on.
        modes: In which modes; True is training.
        gradients: Whether gradients are compared.
        buffers: Whether buffers are compared.

    Raises:
        NonFiniteError: The batch has NaN or infinity, or the model makes NaN of it: that would equal anything.
        ModelError: The model raises.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        modes: tuple[bool, ...],
        *,
        gradients: bool = True,
        buffers: bool = True,
    ) -> None:
        self._model, self._batch, self._gradients, self._buffers = model, batch, gradients, buffers
        _require_finite(batch)
        self._before = {mode: self._observe(mode) for mode in modes}
        for mode, before in self._before.items():
            _require_numbers(before, mode)
        self._allowed = {mode: self._noise(mode) for mode in modes}

    def check(self) -> None:
        """Compare with what the model computes now.

        Raises:
            TreatmentError: They differ by more than rounding explains.
        """
        for mode, before in self._before.items():
            after = self._observe(mode)
            allowed = self._allowed[mode]
            off = {name: apart for name, apart in deviation(before, after) if apart > allowed.get(name, 0.0)}
            if off and all(name.startswith(_GRADIENT) for name in off):
                allowed = allowed | self._steps(mode, after)
            for name, apart in off.items():
                if apart > allowed.get(name, 0.0):
                    raise TreatmentError(
                        f"the changed model does not compute the same: {name} in {_mode(mode)} mode is off by "
                        f"{apart:.1e} of its size, where rounding explains {allowed.get(name, 0.0):.1e}; the model was "
                        "left as it was"
                    )

    def _steps(self, mode: bool, after: Trial) -> dict[str, float]:
        """How far rounding may move each gradient in steps, where the rest of the computation is the same."""
        largest = dict.fromkeys(after.tensors, 0.0)
        for noise in range(2, 2 + _MORE_NOISES):
            for name, apart in deviation(after, self._observe(mode, noise=noise)):
                largest[name] = max(largest[name], apart)
        return {
            name: max(self._allowed[mode].get(name, 0.0), _TIMES_STEPS * min(apart, 1.0))
            for name, apart in largest.items()
        }

    def _observe(self, mode: bool, *, noise: int = 0) -> Trial:
        return observe(
            self._model,
            self._batch,
            training=mode,
            gradients=self._gradients,
            buffers=self._buffers,
            noise=noise,
        )

    def _noise(self, mode: bool) -> dict[str, float]:
        before = self._before[mode]
        shaken = dict(deviation(before, self._observe(mode, noise=1)))
        return {
            name: max(256 * torch.finfo(tensor.dtype).eps, _TIMES_NOISE * min(shaken[name], 1.0))
            for name, tensor in before.tensors.items()
        }


def _require_finite(batch: Batch) -> None:
    for name, tensor in batch.named_tensors():
        if is_signal(tensor) and not bool(tensor.isfinite().all()):
            raise NonFiniteError(
                f"input {name} of the batch has NaN or infinity, so that a comparison would prove nothing; nothing was "
                "changed. Pass a finite batch"
            )


def _require_numbers(computed: Trial, training: bool) -> None:
    """Refuse NaN. Infinity may be meant, as in masked outputs, and what is finite beside it is compared."""
    for name, tensor in computed.tensors.items():
        if bool(tensor.isnan().any()):
            raise NonFiniteError(
                f"{name} in {_mode(training)} mode has NaN before anything is changed, so that a comparison would "
                "prove nothing; nothing was changed. Find where it comes from, as with evenflow.check"
            )


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


@contextmanager
def undone_on_error(undo: Callable[[], None]) -> Iterator[None]:
    """Take a change back when the body raises."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            undo()
