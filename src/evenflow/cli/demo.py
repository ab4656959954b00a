"""`evenflow demo`: the whole chain on real data, from the sick network to the proof."""

from pathlib import Path
from typing import Annotated

import typer


def demo_command(
    html: Annotated[Path, typer.Option(help="Where to write the report, a self-contained page.")] = Path(
        "evenflow-demo.html"
    ),
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the training set; fewer are quicker and prove less.")
    ] = 20,
) -> None:
    """Check, treat and train three sick networks on scikit-learn's digits, and show before and after.

    Takes half a minute, and writes nothing but the report.
    """
    import time

    from evenflow.cli.destination import require_page, write_page
    from evenflow.cli.output import Output
    from evenflow.cli.proofs import budget, prove_all, report
    from evenflow.data import digits
    from evenflow.report import outcome_table

    start = time.monotonic()
    require_page(html)
    output, data = Output(), digits()
    footnote = budget(data, epochs)
    proofs = report(prove_all(data, epochs, output), footnote)
    write_page(proofs, html)
    output.print(outcome_table(proofs))
    output.print(f"{footnote}\nTook {time.monotonic() - start:.0f} s.", style="dim", markup=False)
    output.print(f"\nreport: {html.resolve()}", markup=False, soft_wrap=True)
