"""Findings as text: causes first, what follows from them indented."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from evenflow.diagnose.finding import Finding
from evenflow.report.chains import Chain, more_layers, place, title
from evenflow.report.numbers import count
from evenflow.report.text.style import QUIET, TONE


def chain_text(chain: Chain) -> Iterator[RenderableType]:
    """Write a root cause with explanation and remedy, then one line for each consequence."""
    yield _headline(chain.root)
    yield Padding(Text(chain.root.explanation), (0, 0, 0, 2))
    yield Padding(Text.assemble(("Remedy: ", "bold"), chain.root.remedy), (0, 0, 0, 2))
    for finding in chain.consequences:
        line = Text.assemble("follows: ", _headline(finding), style=QUIET)
        yield Padding(line, (0, 0, 0, 4))
    yield Text()


def _headline(finding: Finding) -> Text:
    text = Text.assemble((finding.severity, TONE[finding.severity]), "  ", (title(finding.rule), "bold"))
    if where := place(finding):
        text.append(f" at {where}")
    if more := more_layers(finding):
        text.append(f"  + {count(len(more), 'more layer')}", QUIET)
    return text
