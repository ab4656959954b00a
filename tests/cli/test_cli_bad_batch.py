import pytest


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("digitz", "there is no built-in data set 'digitz'; did you mean digits?"),
        ("mnist", "there is no built-in data set 'mnist'; use digits or digits-images, or give your own as FILE.py:"),
        ("onw.py:batches", "there is no file onw.py; did you mean own.py?"),
        ("own.py:batchs", "own.py has no 'batchs'; did you mean 'batches'?"),
    ],
)
def test_data_that_are_not_there(refused, write, data, said):
    write()
    assert said in refused("check", "own.py:build", "--data", data)[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def data(): yield from ()", "own.py:data yields nothing; it must yield at least one batch"),
        ("data = []", "own.py:data yields nothing"),
        ("def data(): raise OSError('no such disk')", "own.py:data raised OSError: no such disk; it is called"),
        (
            "def data():\n    raise KeyError('x')\n    yield",
            "taking the first batch of own.py:data raised KeyError: 'x'",
        ),
        ("def data():\n    raise SystemExit(0)\n    yield", "taking the first batch of own.py:data ended the program"),
        ("def data(): return None", "own.py:data gave None; it must be a batch, (inputs, targets), or something that"),
        ("data = 3", "own.py:data gave an int"),
        ("def data(): yield None", "own.py:data yields None; it must yield batches of tensors"),
        ("def data(): yield inputs.numpy()", "own.py:data yields a ndarray; it must yield batches of tensors"),
        ("def data(): yield inputs.numpy(), targets", "the batch holds no input tensor"),
        ("data = inputs, targets, targets", "a batch of 3 parts is ambiguous"),
        ("data = inputs[:0], targets[:0]", "the batch is empty (its first input has shape (0, 8))"),
        ("data = torch.utils.data.TensorDataset(inputs[:0])", "the data set own.py:data is empty"),
    ],
)
def test_data_that_give_no_batch(refused, write, code, said):
    write(code)
    assert said in refused("check", "own.py:build", "--data", "own.py:data")[0]


def test_a_batch_that_does_not_fit_is_told_with_the_layer_and_the_shapes(refused, write):
    write("data = torch.randn(5, 7), torch.randint(3, (5,))")
    message, everything = refused("check", "own.py:build", "--data", "own.py:data")
    assert "in 0 (Linear), on inputs (5, 7) float32" in message
    assert "5x7 and 8x16" in message
    assert "hint: --data FILE.py:NAME checks the model on a batch of yours" in everything


@pytest.mark.parametrize(
    "code",
    [
        "data = inputs, targets",
        "data = [inputs, targets]",
        "data = inputs",
        "data = {'input': inputs}",
        "data = ({'input': inputs}, targets)",
        "data = ((inputs,), targets)",
        "data = [(inputs, targets), (inputs, targets)]",
        "data = [{'input': inputs}]",
        "data = torch.utils.data.TensorDataset(inputs, targets)",
        "data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), 16)",
        "def data(): return torch.utils.data.TensorDataset(inputs, targets)",
        "def data():\n    while True: yield inputs, targets",
        "class data(torch.utils.data.IterableDataset):\n    def __iter__(self): return zip(inputs, targets)",
        "data = iter([(inputs, targets)])",
    ],
)
def test_every_form_of_data_is_taken(cli, write, code):
    write(code)
    result = cli("check", "own.py:build", "--data", "own.py:data")
    assert result.exit_code == 0, result.output


def test_a_data_set_gives_256_samples(cli, write):
    write("data = torch.utils.data.TensorDataset(torch.randn(1000, 8), torch.randint(3, (1000,)))")
    result = cli("check", "own.py:build", "--data", "own.py:data", "--format", "json")
    assert '"samples": 256' in result.stdout
