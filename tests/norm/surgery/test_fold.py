"""BatchNorm folded into the linear layer beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operated.networks import ConvBlockResidual, ResNet18, UNet, images
from operated.state import assert_same_state, state, steps
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from evenflow import norm
from evenflow.errors import BatchError, NonFiniteError, TreatmentError
from evenflow.norm import accelerate_, fold_

CONVOLUTIONS = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
NORMS = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d]


def lived(model):
    """The model in eval mode, its BatchNorm layers with statistics and parameters that are not those of a new one."""
    generator = torch.Generator().manual_seed(5)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for tensor, low in (
                (layer.running_mean, -1),
                (layer.running_var, 0.3),
                (layer.weight, 0.5),
                (layer.bias, -1),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, 2, generator=generator)
    return model.eval()


def check(model, x, folded):
    """Fold, and compare with before; return what was reported."""
    lived(model)
    expected = model(x)
    folding = fold_(model, x)
    assert [f.name for f in folding.folded] == folded
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    names = [name for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert set(names) == {kept.name for kept in folding.kept}
    return folding


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_behind_a_convolution(dims, groups, bias, affine, transposed):
    kind = (TRANSPOSED if transposed else CONVOLUTIONS)[dims - 1]
    layer = kind(4, 8, 3, stride=2, padding=1, groups=groups, bias=bias)
    model = nn.Sequential(layer, NORMS[dims - 1](8, affine=affine))
    check(model, torch.randn(2, 4, *[6] * dims), ["1"])
    assert model[0] is layer
    assert type(model[1]) is nn.Identity


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_before_a_convolution_that_does_not_pad(dims, groups, bias, affine):
    layer = CONVOLUTIONS[dims - 1](4, 8, 3, stride=2, groups=groups, bias=bias)
    model = nn.Sequential(NORMS[dims - 1](4, affine=affine), layer)
    check(model, torch.randn(2, 4, *[6] * dims), ["0"])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("behind", [True, False])
def test_beside_a_linear_layer(bias, behind):
    layer = nn.Linear(4, 8, bias=bias)
    model = nn.Sequential(layer, nn.BatchNorm1d(8)) if behind else nn.Sequential(nn.BatchNorm1d(4), layer)
    check(model, torch.randn(5, 4), ["1" if behind else "0"])


@settings(max_examples=40)
@given(
    dims=st.integers(1, 2),
    transposed=st.booleans(),
    groups=st.integers(1, 3),
    multiples=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
)
def test_any_convolution(dims, transposed, groups, multiples, kernel, stride, padding, dilation, bias):
    kind = (TRANSPOSED if transposed else CONVOLUTIONS)[dims - 1]
    inputs, outputs = (groups * multiple for multiple in multiples)
    padding = min(padding, dilation * (kernel - 1))
    layer = kind(inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias)
    model = lived(nn.Sequential(NORMS[dims - 1](inputs), layer, NORMS[dims - 1](outputs)).double())
    x = torch.randn(2, inputs, *[6] * dims, dtype=torch.float64)
    expected = model(x)
    folding = fold_(model)
    torch.testing.assert_close(model(x), expected)
    assert "2" in [f.name for f in folding.folded]
    exact = (kernel == stride == 1) if transposed else True
    assert ("0" in [f.name for f in folding.folded]) == (exact and padding == 0)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_repeats_the_input_is_exact(mode):
    check(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=2, padding_mode=mode)), images(2), ["0"])


def test_zero_padding_is_exact_where_nothing_is_shifted():
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 4, 3, padding=1)).eval()
    model[0].running_var.fill_(4)
    expected = model(images(2))
    assert [f.name for f in fold_(model).folded] == ["0"]
    torch.testing.assert_close(model(images(2)), expected)


@pytest.mark.parametrize("padding", [1, (0, 1), "same"])
def test_zero_padding_of_a_shifted_input_is_refused(padding):
    folding = check(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=padding)), images(2), [])
    assert "pads its input with zeros" in folding.kept[0].reason


def test_a_transposed_convolution_behind_is_refused():
    folding = check(nn.Sequential(nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 3)), images(2), [])
    assert "zeros between and around" in folding.kept[0].reason
    check(nn.Sequential(nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 1)), images(2), ["0"])


def test_whole_networks():
    torch.manual_seed(0)
    resnet = ResNet18()
    folding = check(resnet, images(), [n for n, m in resnet.named_modules() if isinstance(m, nn.BatchNorm2d)])
    assert len(folding.folded) == 20
    unet = UNet()
    check(unet, images(), ["norm_down", "norm_middle", "norm_up", "norm_merge"])
    check(ConvBlockResidual(), torch.randn(2, 4, 5, 5), ["branch.1", "branch.4"])


def test_undo_restores_everything():
    model = lived(ResNet18())
    before = state(model)
    folding = fold_(model, images())
    folding.undo()
    assert_same_state(before, state(model))
    with pytest.raises(TreatmentError, match="undone already"):
        folding.undo()


def test_layers_of_different_modules_stand_side_by_side():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Sequential(nn.BatchNorm1d(4)), nn.ReLU()))
    check(model, torch.randn(5, 3), ["1.0.0"])


def test_an_accelerated_model_is_folded():
    torch.manual_seed(0)
    model = lived(ResNet18())
    expected = model(images())
    accelerate_(model, images())
    assert len(fold_(model, images()).folded) == 20
    torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu", "sigmoid", "tanh", "hardswish"])
def test_an_activation_of_the_layer_stays(activation):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm.BatchNorm2d(4, activation=activation))
    check(model, images(2), ["1"])
    refused = nn.Sequential(norm.BatchNorm2d(3, activation=activation), nn.Conv2d(3, 4, 3))
    check(refused, images(2), [])


def test_layers_that_are_called_with_a_residual_are_kept():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), norm.BatchNorm2d(3, activation="relu")

        def forward(self, x):
            return self.bn(self.conv(x), x)

    folding = check(Residual(), images(2), [])
    assert "more than its input" in folding.kept[0].reason


def test_frozen_layers_are_folded_in_training_too():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    norm.freeze_(model)
    model.train()
    assert [f.name for f in fold_(model).folded] == ["1"]


class OneConv(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(3, 4, 1)
        self.flag, self.after = True, after

    def forward(self, x):
        return self.after(self, x)


def output_used_elsewhere(self, x):
    y = self.conv(x)
    return self.bn(y) + y


def activation_between(self, x):
    return self.bn(F.relu(self.conv(x)))


def two_layers(self, x):
    return self.bn(self.conv(x)) + self.bn(self.other(x))


def layer_used_twice(self, x):
    return self.bn(self.conv(x)) + self.conv(x)


def weight_read(self, x):
    return self.bn(self.conv(x)) + self.conv.weight.sum()


def statistics_read(self, x):
    return self.bn(self.conv(x)) + self.bn.running_mean.sum()


def cannot_be_followed(self, x):
    return self.bn(self.conv(x)) if x.sum() > 0 else self.conv(x)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (output_used_elsewhere, "output of the Conv2d before it is also read elsewhere"),
        (activation_between, "relu comes before it"),
        (two_layers, "behind several layers"),
        (layer_used_twice, "also read elsewhere"),
        (weight_read, "reads the parameters of the Conv2d"),
        (statistics_read, "reads the parameters of it"),
        (cannot_be_followed, "cannot be followed"),
    ],
)
def test_graphs_that_are_not_equivalent(after, reason):
    model = lived(OneConv(after))
    before = state(model)
    folding = fold_(model, images(2))
    assert not folding.folded
    assert reason in folding.kept[0].reason
    assert_same_state(before, state(model))


def hooked(model):
    model[0].register_forward_hook(lambda *args: None)


def hooked_norm(model):
    model[1].register_forward_hook(lambda *args: None)


def pruned(model):
    prune.l1_unstructured(model[0], "weight", 0.5)


def normed(model):
    parametrizations.weight_norm(model[0])


def tied(model):
    model.append(nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight


def viewed(model):
    model.append(nn.Linear(4, 4, bias=False))
    model[2].weight = nn.Parameter(model[0].weight.detach().T)


def training(model):
    model.train()


def untracked(model):
    model[1] = nn.BatchNorm1d(4, track_running_stats=False)


def overflowing(model):
    model.half()
    model[1].running_var.fill_(1e-7)
    model[1].eps = 1e-7
    model[0].weight.data.fill_(100)


def on_meta(model):
    model.to("meta")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (hooked, "a hook looks at the Linear"),
        (hooked_norm, "a hook looks at it"),
        (pruned, "a hook looks at the Linear"),
        (normed, "ParametrizedLinear"),
        (tied, "shared with 2"),
        (viewed, "shared with 2"),
        (training, "in training mode"),
        (untracked, "no running statistics"),
        (overflowing, "does not fit torch.float16"),
        (on_meta, "on the meta device"),
    ],
)
def test_layers_that_are_kept(change, reason):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    change(model)
    folding = fold_(model)
    assert not folding.folded
    assert reason in folding.kept[0].reason


def test_torch_fusion_grouped_transposed_convolution_fails_or_is_wrong():
    """pytorch#180995: (in, out / groups, ...) weights scaled by a vector of `out` numbers."""
    for groups in (1, 2, 4):
        model = nn.Sequential(nn.ConvTranspose2d(4, 8, 3, stride=2, groups=groups), nn.BatchNorm2d(8))
        check(model, torch.randn(2, 4, 5, 5), ["1"])


def test_torch_fusion_affine_false_type_error():
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    model = lived(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)))
    theirs = fuse_conv_bn_eval(model[0], model[1])  # torch has mended it since
    expected = theirs(images(2))
    fold_(model)
    torch.testing.assert_close(model(images(2)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    model = lived(nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU())).to(dtype)
    x = torch.randn(5, 4).to(dtype)
    expected = model(x)
    assert [f.name for f in fold_(model).folded] == ["1"]
    assert model[0].weight.dtype == model[0].bias.dtype == dtype
    torch.testing.assert_close(model(x), expected, rtol=0.05, atol=0.05)


def test_a_new_bias_trains_where_the_weight_does():
    for trains in (True, False):
        model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)).eval().requires_grad_(trains)
        fold_(model)
        assert model[0].bias.requires_grad is trains


def test_a_wrong_fold_is_found_and_taken_back(monkeypatch):
    from evenflow.norm.surgery import fold

    monkeypatch.setattr(fold, "folded", lambda norm, layer, behind: (layer.weight * 1.1, torch.zeros(4)))
    model = lived(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    before = state(model)
    with pytest.raises(TreatmentError, match="is off by"):
        fold_(model)
    assert_same_state(before, state(model))


def test_sequences_through_a_linear_layer_are_found_with_a_batch():
    """BatchNorm1d normalises dimension 1 and Linear maps the last one, which may be of the same size."""
    model = lived(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    before = state(model)
    batch = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TreatmentError, match="does not compute the same"):
        fold_(model, batch)
    assert_same_state({**before, "random": torch.get_rng_state()}, state(model))


def test_a_bad_batch_changes_nothing():
    model = lived(ResNet18())
    before = state(model)
    with pytest.raises(BatchError):
        fold_(model, [])
    assert_same_state(before, state(model))


def test_the_folded_model_exports_and_trains():
    model = lived(ResNet18())
    expected = model(images())
    fold_(model)
    exported = torch.export.export(model, (images(),)).module()
    torch.testing.assert_close(exported(images()), expected, rtol=1e-4, atol=1e-4)
    assert steps(model, images())[-1] >= 0


def test_the_report_reads():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    assert str(fold_(model)) == (
        "folded 1\n  1: into 0, behind which it stood\nkept 1\n"
        "  3: 2 comes before it, which cannot take it in; and the output of the model follows, which cannot take it in"
    )
    assert str(fold_(nn.Linear(2, 2))) == "the model has no BatchNorm"


def test_the_report_says_on_which_side_it_stood():
    behind = lived(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    before = lived(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)))
    assert "1: into 0, behind which it stood" in str(fold_(behind))
    assert "0: into 1, before which it stood" in str(fold_(before))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_batch_that_is_not_finite_verifies_nothing(bad):
    model, x = lived(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())), images()
    x[0, 0, 0, 0] = bad
    before = state(model)
    with pytest.raises(NonFiniteError, match="input 0 of the batch has NaN or infinity"):
        fold_(model, x)
    assert_same_state(before, state(model))


def test_a_model_that_makes_nan_is_not_folded():
    model, x = lived(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))), images()
    model[0].bias.data[2] = float("nan")
    with pytest.raises(NonFiniteError, match="output 0 in evaluation mode has NaN before anything is changed"):
        fold_(model, x)
    assert type(model[1]) is nn.BatchNorm2d


class Masked(nn.Module):
    """Classes that are out of the question get minus infinity, as people write it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.register_buffer("out_of_question", torch.arange(4) == 2)

    def forward(self, x):
        return self.layers(x).masked_fill(self.out_of_question, -float("inf"))


def test_infinity_in_an_output_is_compared_with_infinity():
    model, x = lived(Masked()), torch.randn(5, 3)
    expected = model(x)
    assert fold_(model, x).folded
    torch.testing.assert_close(model(x), expected)
