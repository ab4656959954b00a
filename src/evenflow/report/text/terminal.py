"""A diagnosis on a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.report.chains import chains
from evenflow.report.rows import layer_rows
from evenflow.report.text.findings import chain_text
from evenflow.report.text.layers import curves, layer_table
from evenflow.report.text.style import HEADING, QUIET, TONE, encodable
from evenflow.report.verdict import verdict

WIDEST = 120


@dataclass(frozen=True, slots=True)
class TerminalView:
    """Draws a diagnosis as wide as the terminal, with the characters that it can show."""

    diagnosis: Diagnosis

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        width = min(options.max_width, WIDEST)
        for part in _parts(self.diagnosis, width):
            yield from encodable(console.render(part, options.update_width(width)), options.encoding)


def terminal(diagnosis: Diagnosis) -> TerminalView:
    """Return what Rich prints for a diagnosis: verdict, findings, layers, prescription.

    Args:
        diagnosis: What is shown.
    """
    return TerminalView(diagnosis)


def _parts(diagnosis: Diagnosis, width: int) -> Iterator[RenderableType]:
    rows = layer_rows(diagnosis)
    yield _headline(diagnosis)
    yield Text()
    for chain in chains(diagnosis.findings):
        yield from chain_text(chain)
    if rows:
        yield curves(rows, width)
        yield Text()
        yield layer_table(rows, width)
        yield Text()
    yield from _prescription(diagnosis)


def _headline(diagnosis: Diagnosis) -> Text:
    said = verdict(diagnosis)
    text = Text.assemble((said.word, TONE[said.state]), f"  {diagnosis.record.model}: ")
    if said.reason:
        return text.append(said.reason, HEADING).append(f" ({said.tally})", QUIET)
    return text.append(said.tally)


def _prescription(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    sentences = diagnosis.prescription.describe()
    if sentences:
        yield Text("Prescription", HEADING)
        steps = Table.grid(padding=(0, 1, 0, 0))
        for position, sentence in enumerate(sentences, start=1):
            steps.add_row(f"  {position}.", Text(sentence))
        yield steps
