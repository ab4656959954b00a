"""`evenflow lab report`: what was found, as a page or as Markdown."""

from pathlib import Path
from typing import Annotated

import typer

from evenflow.cli.lab.options import DEFAULT_STORE, STORE, Size


def report_command(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file: .html, or .md with its figures beside it."),
    ] = Path("lab.html"),
    store: Annotated[Path, STORE] = DEFAULT_STORE,
    budget: Annotated[Size | None, typer.Option(help="Of which verdicts; without it, of the newest.")] = None,
    seed: Annotated[int | None, typer.Option(help="Base seed of the verdicts; without it, of the newest.")] = None,
) -> None:
    """Write the report: the verdicts of all claims, then a section for each."""
    from evenflow.cli.destination import require_page, write_text
    from evenflow.cli.output import say_where
    from evenflow.errors import DestinationError
    from evenflow.lab.store import Store
    from evenflow.lab.summary import summary
    from evenflow.report.lab import lab_markdown, lab_page

    if output.suffix not in (".html", ".md"):
        raise DestinationError(f"--output {output} must end in .html or .md")
    require_page(output, "--output")
    with Store(store, create=False) as opened:
        found = summary(opened, None if budget is None else budget.value, seed)
    if output.suffix == ".html":
        write_text(lab_page(found), output, "--output")
    else:
        folder = Path(f"{output.stem}-figures")
        text, figures = lab_markdown(found, folder)
        (output.parent / folder).mkdir(exist_ok=True)
        for name, drawn in figures.items():
            write_text(drawn, output.parent / folder / name, "--output")
        write_text(text, output, "--output")
    say_where(output)
