"""BatchNorm layers turned into those of another library, in place."""

import copy
import pickle

import pytest
import torch
from operated.networks import NETWORKS, ResNet18, images
from operated.state import assert_same_state, state, steps
from operated.timm_style import BatchNormAct2d, Treacherous
from torch import nn
from torch.nn.utils import parametrize

from evenflow import norm
from evenflow.errors import ParameterTypeError, ParameterValueError, TreatmentError
from evenflow.norm import accelerate_, convert_

PAIRS = [
    (nn.BatchNorm1d, norm.BatchNorm1d, (8, 4)),
    (nn.BatchNorm2d, norm.BatchNorm2d, (8, 4, 3, 3)),
    (nn.BatchNorm3d, norm.BatchNorm3d, (4, 4, 2, 2, 2)),
    (nn.SyncBatchNorm, norm.SyncBatchNorm, (8, 4, 3)),
]
OPTIONS = [
    {},
    {"affine": False},
    {"track_running_stats": False},
    {"momentum": None},
    {"eps": 0.1, "momentum": 0.3},
]


@pytest.mark.parametrize(("theirs", "ours", "shape"), PAIRS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_there_and_back_restores_the_layer(theirs, ours, shape, options):
    layer = theirs(4, **options)
    parameters = [(name, id(p)) for name, p in layer.named_parameters()]
    conversion = convert_(layer)
    assert type(layer) is ours
    assert not conversion.kept
    fresh = ours(4, **options)
    assert sorted(vars(layer)) == sorted(vars(fresh))
    assert repr(layer) == repr(fresh)
    assert layer(torch.randn(shape)).shape == shape
    back = theirs(4, **options)
    convert_(layer, to="torch")
    layer.load_state_dict(back.state_dict())
    assert type(layer) is theirs
    assert [(name, id(p)) for name, p in layer.named_parameters()] == parameters
    assert sorted(vars(layer)) == sorted(vars(back))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_computes_the_same(name):
    build, batch = NETWORKS[name]
    torch.manual_seed(0)
    model, x = build(), batch()
    plain = copy.deepcopy(model)
    convert_(model)
    torch.manual_seed(1)
    expected = steps(plain, x)
    torch.manual_seed(1)
    torch.testing.assert_close(steps(model, x), expected, rtol=1e-3, atol=1e-6)
    convert_(model, to="torch")
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


def test_everything_around_the_layers_stays():
    model = ResNet18().eval()
    fired = []
    model.bn1.register_forward_hook(lambda *args: fired.append("bn1"))
    model.bn1.tag = "mine"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = state(model)
    conversion = convert_(model)
    assert len(conversion.converted) == 20
    model(images())
    assert fired == ["bn1"]
    assert model.bn1.tag == "mine"
    assert not model.bn1.training
    conversion.undo()
    assert_same_state(before, state(model))
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}


def test_a_checkpoint_and_a_pickle_go_both_ways():
    model = ResNet18()
    steps(model, images())
    saved = copy.deepcopy(model.state_dict())
    convert_(model)
    model.load_state_dict(saved)
    again = pickle.loads(pickle.dumps(model))
    assert list(again.state_dict()) == list(saved)
    torch.testing.assert_close(again.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU(inplace=True), nn.GELU(), nn.LeakyReLU(), nn.Identity()])
@pytest.mark.parametrize("training", [True, False])
def test_a_timm_style_layer_applies_its_activation_itself(act, training):
    torch.manual_seed(0)
    layer = BatchNormAct2d(4, act=act).train(training)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(8, 4, 3, 3)
    expected = copy.deepcopy(layer)(x)
    keys, before = list(layer.state_dict()), state(layer)
    conversion = convert_(layer)
    assert type(layer) is norm.BatchNorm2d
    assert list(layer.state_dict()) == keys
    assert not list(layer.children())
    torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    conversion.undo()
    assert_same_state(before, state(layer))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (BatchNormAct2d(4, act=nn.LeakyReLU(0.2)), "slope is 0.2"),
        (BatchNormAct2d(4, act=nn.PReLU()), "activation is PReLU"),
        (BatchNormAct2d(4, act=nn.ELU()), "no layer can apply elu"),
        (BatchNormAct2d(4, drop=nn.Dropout()), "Dropout between"),
        (Treacherous(4), "something else than its parts suggest"),
        (nn.LazyBatchNorm2d(), "lazy"),
    ],
)
def test_what_is_kept_and_why(layer, reason):
    model = nn.Sequential(layer)
    before = state(model) if not isinstance(layer, nn.LazyBatchNorm2d) else None
    (kept,) = convert_(model).kept
    assert kept.name == "0"
    assert reason in kept.reason
    if before is not None:
        assert_same_state(before, state(model))


def test_a_parametrized_layer_is_kept():
    model = nn.Sequential(nn.BatchNorm1d(3))
    parametrize.register_parametrization(model[0], "weight", nn.Softplus())
    (kept,) = convert_(model).kept
    assert "ParametrizedBatchNorm1d" in kept.reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"activation": "relu"}, "no activation, which is 'relu' here"),
        ({"accumulate": 2}, "no accumulate"),
        ({"frozen": True}, "no frozen"),
        ({"on_nonfinite": "skip"}, "no on_nonfinite"),
        ({"running_variance": "biased"}, "no running_variance"),
    ],
)
def test_what_torch_does_not_have_is_kept(options, reason):
    model = nn.Sequential(norm.BatchNorm1d(3, **options))
    conversion = convert_(model, to="torch")
    assert not conversion.converted
    assert reason in conversion.kept[0].reason
    assert type(model[0]) is norm.BatchNorm1d


def test_synchronised_layers_keep_activation_and_options():
    model = nn.Sequential(norm.BatchNorm2d(3, activation="relu", on_nonfinite="skip"), nn.BatchNorm2d(3))
    conversion = convert_(model, to="sync")
    assert [type(layer) for layer in model] == [norm.SyncBatchNorm] * 2
    assert (model[0].activation, model[0].on_nonfinite, model[0].process_group) == ("relu", "skip", None)
    assert (model(torch.randn(4, 3, 2, 2)) != 0).any()
    conversion.undo()
    assert [type(layer) for layer in model] == [norm.BatchNorm2d, nn.BatchNorm2d]


def test_the_process_group_of_torchs_layer_is_kept():
    group = object()
    layer = nn.SyncBatchNorm(3, process_group=group)
    convert_(layer)
    assert layer.process_group is group


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_running_statistics_have_the_dtype_that_each_library_keeps(dtype):
    model = nn.Sequential(nn.BatchNorm1d(3)).to(dtype)
    convert_(model)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert model[0].running_mean.dtype == wide
    convert_(model, to="torch")
    assert model[0].running_mean.dtype == dtype


def test_an_accelerated_model_can_go_back_to_torch():
    model, x = ResNet18().eval(), images()
    expected = model(x)
    accelerate_(model, x)
    convert_(model, to="torch")
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_is_one_layer():
    layer = nn.BatchNorm1d(3)
    assert str(convert_(layer)) == (
        "converted 1\n  the model itself: torch.nn.BatchNorm1d is evenflow.norm.BatchNorm1d now"
    )
    assert str(convert_(layer)) == "there is no BatchNorm to convert"


@pytest.mark.parametrize(("to", "error"), [("keras", ParameterValueError), (None, ParameterTypeError)])
def test_another_library_is_refused(to, error):
    with pytest.raises(error, match="to must be one of"):
        convert_(nn.BatchNorm1d(3), to=to)


def test_undo_twice_is_refused():
    conversion = convert_(nn.Sequential(nn.BatchNorm1d(3)))
    conversion.undo()
    with pytest.raises(TreatmentError, match="undone already"):
        conversion.undo()
