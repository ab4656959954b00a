"""A chart as an SVG element that many can share one page with."""

import re
from hashlib import blake2b
from html import escape

import altair as alt
import vl_convert

from evenflow.report.figures.theme import CONFIG


def inline_svg(chart: alt.Chart | alt.LayerChart, label: str) -> str:
    """Draw a chart as an `<svg>` element for a page.

    Its size follows the page, its ids are its own (they would collide with those of other figures), and it is
    one image to a screen reader.

    Args:
        chart: The chart.
        label: What the image shows, for those who do not see it.
    """
    svg = standalone_svg(chart)
    return _labelled(_with_own_ids(svg[svg.index("<svg") :]), label)


def standalone_svg(chart: alt.Chart | alt.LayerChart) -> str:
    """Draw a chart as an SVG file of its own."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.vegalite_to_svg(chart.to_dict() | {"config": CONFIG}, vl_version=version)


def _with_own_ids(svg: str) -> str:
    prefix = f"f{blake2b(svg.encode(), digest_size=4).hexdigest()}-"
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', svg)


def _labelled(svg: str, label: str) -> str:
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r' (?:role|aria-[a-z]+|pointer-events)="[^"]*"', "", body)
    return f'<svg {box.group() if box else ""} role="img" aria-label="{escape(label)}">{body}'
