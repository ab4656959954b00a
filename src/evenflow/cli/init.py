"""`evenflow init`: initialise a model, and keep its weights in a file."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from evenflow.cli.plan import DATA, MODEL, SCHEME, SEED


def init_command(
    model: Annotated[str, MODEL],
    output: Annotated[Path, typer.Option("-o", "--output", help="The safetensors file to write.")],
    data: Annotated[str | None, DATA] = None,
    scheme: Annotated[str, SCHEME] = "auto",
    plan: Annotated[
        Path | None,
        typer.Option(help="A plan in TOML or JSON, as `evenflow plan` prints it, to carry out instead."),
    ] = None,
    seed: Annotated[int | None, SEED] = None,
) -> None:
    """Initialise a model and write its weights as safetensors, under the names of its state_dict.

    The file appears when it is complete: one of that name stays what it was until then. Exits with 0, or 2 when the
    call was wrong or the file cannot be written.
    """
    import torch

    from evenflow.cli.batch import load_batch
    from evenflow.cli.model import load_model
    from evenflow.cli.output import say
    from evenflow.cli.user_code import running
    from evenflow.cli.weights import read_plan, require_file, require_storable, write_weights
    from evenflow.errors import ParameterValueError
    from evenflow.planning import initialize_

    if plan is not None and (data is not None or scheme != "auto"):
        raise ParameterValueError("--plan is carried out as it is; leave out --data and --scheme")
    require_file(output)
    with redirect_stdout(sys.stderr):
        torch.manual_seed(seed or 0)
        network = load_model(model)
        require_storable(network)
        if plan is not None:
            audit = read_plan(plan).apply_(seed, model=network)
        else:
            batch = load_batch(data) if data else None
            with running("initialising the model"):
                made = initialize_(network, batch, scheme=scheme, seed=seed or 0)
            for line in (*made.unknown, *made.notes):
                say("note", "bold", line)
            assert made.audit is not None  # `initialize_` gives one
            audit = made.audit
    write_weights(network, output)
    say("weights", "bold", f"{output.resolve()}: {audit}")
