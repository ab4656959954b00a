import pytest

NO_GUESS = "data = inputs, torch.rand(64, 2, 2)"


def test_where_no_loss_can_be_guessed_the_option_is_named(refused, write):
    write(NO_GUESS)
    message, everything = refused("check", "own.py:build", "--data", "own.py:data")
    assert "no loss can be guessed" in message
    assert "(64, 2, 2)" in message
    assert "hint: --loss takes the name of a function in torch.nn.functional" in everything


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("mse_los", "torch.nn.functional has no loss 'mse_los'; did you mean mse_loss?"),
        ("relu", "torch.nn.functional has no loss 'relu'; use one such as mse_loss, or give your own as FILE.py:NAME"),
        ("own.py:value", "own.py:value is an int; it must be a function loss(output, targets)"),
        ("own.py:valeu", "own.py has no 'valeu'; did you mean 'value'?"),
        ("own.py:raises", "loss_fn raised KeyError: 'x'; it is called as loss_fn(output, targets)"),
        ("own.py:many", "got a tensor of shape (64, 3)"),
        ("own.py:Needy", "own.py:Needy raised TypeError"),
    ],
)
def test_a_loss_that_is_none(refused, write, loss, said):
    write(
        "value = 3\n"
        "def raises(output, targets): raise KeyError('x')\n"
        "def many(output, targets): return output\n"
        "class Needy(nn.Module):\n    def __init__(self, scale): super().__init__()\n"
    )
    assert said in refused("check", "own.py:build", "--data", "own.py:batches", "--loss", loss)[0]


@pytest.mark.parametrize(
    "loss",
    ["own.py:function", "own.py:instance", "own.py:Class", "own.py:nn.functional.cross_entropy", "cross_entropy"],
)
def test_every_form_of_loss_is_taken(cli, write, loss):
    write(
        "def function(output, targets): return nn.functional.cross_entropy(output, targets)\n"
        "instance = nn.CrossEntropyLoss()\n"
        "class Class(nn.CrossEntropyLoss): pass\n"
    )
    result = cli("check", "own.py:build", "--data", "own.py:batches", "--loss", loss, "--format", "json")
    assert result.exit_code == 0, result.output
    assert '"kind": "given"' in result.stdout
