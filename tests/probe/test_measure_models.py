"""Which models can be measured, what is said of the others, and wrappers that are looked through."""

import contextlib
import gc
import weakref

import pytest
import torch
import torch.distributed as dist
from torch import nn

from evenflow.errors import LossError, ModelError, NoParametersError, ParameterTypeError
from evenflow.probe import measure, unwrapped

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


class Returning(nn.Module):
    def __init__(self, wrap=lambda x: x):
        super().__init__()
        self.fc, self.wrap = nn.Linear(6, 3), wrap

    def forward(self, x):
        return self.wrap(self.fc(x))


# What is no usable model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "must be a torch.nn.Module; got NoneType"),
        (nn.Linear, "got the class Linear: call it first"),
        (torch.relu, "got builtin_function_or_method"),
        ([nn.Linear(6, 3)], "got list"),
    ],
)
def test_what_is_no_module(model, message):
    with pytest.raises(ParameterTypeError, match=message):
        measure(model, X)


def test_a_model_without_parameters():
    with pytest.raises(NoParametersError, match=r"ReLU has no parameters.*pass the network itself"):
        measure(nn.ReLU(), X)


def test_a_model_whose_parameters_are_all_frozen():
    model = nn.Linear(6, 3).requires_grad_(False)
    with pytest.raises(NoParametersError, match=r"frozen.*requires_grad_\(\)"):
        measure(model, X)


def test_a_model_on_the_meta_device():
    with pytest.raises(ModelError, match=r"meta device \(weight has no values\).*to_empty"):
        measure(nn.Linear(6, 3, device="meta"), X)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_scripted_model():
    with pytest.raises(ModelError, match=r"TorchScript.*pass the eager module"):
        measure(torch.jit.script(nn.Linear(6, 3)), X)


def test_a_lazy_model():
    with pytest.raises(ModelError, match=r"lazy \(1.weight has no shape yet\); run it once"):
        measure(nn.Sequential(nn.Linear(6, 3), nn.LazyLinear(3)), X)


def test_a_model_that_was_built_under_inference_mode():
    with torch.inference_mode():
        model = nn.Linear(6, 3)
    with pytest.raises(ModelError, match=r"built under torch.inference_mode"):
        measure(model, X)


def test_a_model_that_uses_none_of_its_parameters():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return x

    with pytest.raises(ModelError, match="no layer of Idle used its parameters"):
        measure(Idle(), X)


def test_a_model_that_the_batch_does_not_fit():
    with pytest.raises(ModelError, match=r"RuntimeError: mat1.*inputs \(8, 5\) float32.*does the batch fit") as caught:
        measure(nn.Sequential(nn.Linear(6, 3)), X[:, :5])
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_model_that_raises_while_it_is_set_to_training():
    class Stubborn(nn.Linear):
        def train(self, mode=True):
            if mode:
                raise OSError("read-only")
            return super().train(mode)

    with pytest.raises(ModelError, match="OSError: read-only"):
        measure(Stubborn(6, 3).eval(), X)


def test_a_model_whose_backward_raises():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ArithmeticError("no derivative")

    with pytest.raises(ModelError, match="backward pass raised ArithmeticError: no derivative"):
        measure(Returning(Broken.apply), X)


@pytest.mark.parametrize("output", [None, 3, "text", torch.arange(8), torch.zeros(8, 0), (), {}])
def test_outputs_that_nothing_can_be_computed_from(output):
    with pytest.raises(ModelError, match=r"holds no floating-point value.*or a dict with 'loss'"):
        measure(Returning(lambda x: output), (X, Y))


@pytest.mark.parametrize("detach", [lambda x: x.detach(), lambda x: torch.zeros(8, 3)])
def test_outputs_without_a_gradient(detach):
    with pytest.raises(LossError, match=r"does not depend on any trainable parameter.*no_grad"):
        measure(Returning(detach), (X, Y))


def test_outputs_that_depend_on_the_inputs_alone():
    x = X.clone().requires_grad_()

    class Aside(Returning):
        def forward(self, x):
            super().forward(x)
            return 2 * x[:, :3]

    with pytest.raises(LossError, match="does not depend on any trainable parameter"):
        measure(Aside(), (x, Y))


# Wrappers


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, lambda m: compiled(nn.DataParallel(m))])
def test_wrappers_are_looked_through(wrap):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    assert unwrapped(wrap(model)) is model
    assert measure(wrap(model), (X, Y)) == measure(model, (X, Y))


def test_compiled_parts_run_eagerly_while_they_are_measured():
    model = nn.Sequential(compiled(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3))
    record = measure(model, (X, Y))
    assert [layer.kind for layer in record.layers] == ["Linear", "Linear"]
    assert record.layers[0].activation.name == "relu"
    model[2].compile(backend="eager")
    assert [layer.kind for layer in measure(model, (X, Y)).layers] == ["Linear", "Linear"]
    assert model(X).shape == (8, 3)


def test_distributed_data_parallel(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        parallel = nn.parallel.DistributedDataParallel(model)
        assert measure(parallel, (X, Y)) == measure(model, (X, Y))
        nn.functional.cross_entropy(parallel(X), Y).backward()
        assert model[0].weight.grad is not None
        # One that outlives its group can wait for a thread of it that waits for the interpreter lock.
        del parallel
    finally:
        dist.destroy_process_group()


# Memory


class Recording(nn.Module):
    """Keeps weak references to every activation that it computes."""

    def __init__(self, fail):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.norm, self.head, self.fail = nn.BatchNorm1d(6), nn.Linear(6, 3), fail

    def forward(self, x):
        activations = []
        for layer in self.layers:
            activations += [layer(x), torch.relu(layer(x))]
            x = activations[-1]
        activations.append(self.head(self.norm(x)))
        REFERENCES.extend(map(weakref.ref, activations))
        return self.head(x[:, :2]) if self.fail else activations[-1]


REFERENCES = []


@pytest.mark.parametrize(("targets", "fail"), [(Y, False), (Y + 99, False), (Y, True)])
def test_no_activation_outlives_the_measurement(targets, fail):
    """Not even until the next garbage collection, which may come late."""
    REFERENCES.clear()
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(LossError, ModelError):
            measure(Recording(fail), (X, targets))
        assert [reference() for reference in REFERENCES] == [None] * 5
    finally:
        gc.enable()


def test_an_attribute_in_which_the_model_keeps_its_output_is_restored():
    class Keeping(Returning):
        last = None

        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    model = Keeping()
    measure(model, (X, Y))
    assert model.last is None
