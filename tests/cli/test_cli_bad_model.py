import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("own.py", "the model must be given as FILE.py:NAME or package.module:NAME; got 'own.py'"),
        (":build", "the model must be given as FILE.py:NAME"),
        ("own.py:", "the model must be given as FILE.py:NAME"),
        ("onw.py:build", "there is no file onw.py; did you mean own.py?"),
        ("quite_different.py:build", "there is no file quite_different.py; check the path"),
        ("nowhere/own.py:build", "there is no folder nowhere, so no file nowhere/own.py; the working folder is "),
        ("own.py:biuld", "own.py has no 'biuld'; did you mean 'build'?"),
        ("own.py:xyz", "own.py has no 'xyz'; it defines batches, build, fixed, inputs, targets"),
        ("own.py:build.deeper", "own.py has no 'build.deeper'"),
        ("no_such_package:build", "there is no module 'no_such_package'; give the model as FILE.py:NAME"),
        ("own_folder/inner:build", "did you mean own_folder/inner.py:NAME?"),
    ],
)
def test_a_source_that_leads_nowhere(refused, write, source, said):
    write()
    write(name="own_folder/inner.py")
    assert said in refused("check", source)[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:", "importing own.py raised SyntaxError: invalid syntax (own.py, line 13)"),
        ("undefined_name", "importing own.py raised NameError: name 'undefined_name' is not defined"),
        ("import no_such_dependency", "importing own.py raised ModuleNotFoundError: No module named 'no_such_dep"),
        ("raise SystemExit(0)", "importing own.py ended the program by SystemExit(0); put what is to run as a script"),
        ("import sys; sys.exit('bye')", "importing own.py ended the program by SystemExit('bye')"),
    ],
)
def test_a_file_that_raises_when_it_is_imported(refused, write, code, said):
    write(code)
    message, everything = refused("check", "own.py:build")
    assert said in message
    assert "hint: --debug shows the traceback" in everything


def test_a_module_that_imports_what_is_not_there_is_not_said_to_be_missing_itself(refused, write):
    write("import no_such_dependency", "own_module.py")
    assert (
        "importing own_module raised ModuleNotFoundError: No module named 'no_such_dep"
        in refused("check", "own_module:build")[0]
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def model(): raise KeyError('width')", "own.py:model raised KeyError: 'width'; it is called without"),
        ("def model(): raise SystemExit(0)", "own.py:model ended the program by SystemExit(0)"),
        ("def model(): return None", "own.py:model returned None; it must return a torch.nn.Module"),
        ("def model(): return 3", "own.py:model returned an int; it must return a torch.nn.Module"),
        ("def model(): yield 3", "own.py:model returned a generator; it must return a torch.nn.Module"),
        ("def model(width): return build()", "missing 1 required positional argument: 'width'; it is called without"),
        ("model = nn.Linear", "missing 2 required positional arguments: 'in_features' and 'out_features'"),
        ("model = 3", "own.py:model is an int; it must be a torch.nn.Module or a function that returns one"),
    ],
)
def test_a_name_that_gives_no_model(refused, write, code, said):
    write(code)
    assert said in refused("check", "own.py:model", "--data", "own.py:batches")[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("model = nn.ReLU()", "ReLU has no parameters, so there is nothing to train"),
        ("model = build().requires_grad_(False)", "every parameter of Sequential is frozen"),
        ("with torch.device('meta'): model = build()", "Sequential lies on the meta device"),
    ],
)
def test_a_model_that_cannot_be_checked(refused, write, code, said):
    write(code)
    assert said in refused("check", "own.py:model", "--data", "own.py:batches")[0]


@pytest.mark.parametrize(
    "code",
    [
        "model = build()",
        "model = build().eval()",
        "class model(nn.Sequential):\n    def __init__(self): super().__init__(nn.Linear(8, 3))",
        "model = build()\nmodel[0].requires_grad_(False)",
        "class Factory:\n    @staticmethod\n    def make(): return build()\nmodel = Factory.make",
    ],
    ids=["instance", "eval", "class", "partly frozen", "attribute"],
)
def test_every_kind_of_model_is_taken(cli, write, code):
    write(code)
    assert cli("check", "own.py:model", "--data", "own.py:batches").exit_code == 0


def test_weights_of_nan_are_a_finding_and_no_wrong_call(cli, write):
    write("model = build()\nmodel[2].weight.data[0, 0] = float('nan')")
    result = cli("check", "own.py:model", "--data", "own.py:batches")
    assert result.exit_code == 1
    assert "NaN or infinity at 2" in result.stdout


def test_a_module_is_found_by_its_dotted_name_in_the_working_folder(cli, write):
    write(name="own_package/inner.py")
    source = "own_package.inner:build"
    assert cli("check", source, "--data", "own_package.inner:batches").exit_code == 0


def test_a_file_may_import_its_neighbours_also_later(cli, write):
    write(name="elsewhere/own_parts.py")
    write("def late():\n    from own_parts import build\n    return build()", "elsewhere/own.py")
    assert cli("check", "elsewhere/own.py:late", "--data", "elsewhere/own.py:batches").exit_code == 0


def test_a_file_named_thrice_runs_once(cli, write):
    write("print('running')\ndef loss(output, targets): return nn.functional.cross_entropy(output, targets)")
    result = cli("check", "own.py:build", "--data", "own.py:batches", "--loss", "own.py:loss")
    assert result.exit_code == 0
    assert result.stderr.count("running") == 1


def test_two_files_of_one_name_do_not_mix(cli, write):
    write("build = None", "one/own.py")
    write("batches = None", "two/own.py")
    assert cli("check", "two/own.py:build", "--data", "one/own.py:batches").exit_code == 0


def test_the_seed_makes_the_model(cli, write):
    write()
    runs = [
        cli("check", "own.py:build", "--data", "own.py:batches", "--format", "json", "--seed", seed).stdout
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=st.text().filter(lambda text: not text.startswith("-")))
def test_no_text_in_place_of_a_model_gets_a_traceback(refused, source):
    assert refused("check", source)[0]


def test_a_model_that_ends_the_program_is_not_taken_for_healthy(refused, write):
    write(
        "import sys\n"
        "class Quitter(nn.Linear):\n"
        "    def forward(self, x): sys.exit(0)\n"
        "def model(): return Quitter(64, 10)"
    )
    assert "checking the model ended the program by SystemExit(0)" in refused("check", "own.py:model")[0]
