"""The figures of a case, drawn, with captions that say in numbers what they show."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from evenflow.report.figures.curves import accuracy_chart, loss_chart, loss_is_logarithmic
from evenflow.report.figures.depth import gradient_chart, gradient_of, rms_of, signal_chart, spread_of
from evenflow.report.figures.histograms import histogram_chart, in_own_units
from evenflow.report.figures.series import Measure, Networks
from evenflow.report.figures.shares import DEAD, SATURATED, share_chart, share_measures
from evenflow.report.figures.svg import inline_svg
from evenflow.report.figures.theme import ALONE, SERIES
from evenflow.report.model import Case, Curve
from evenflow.report.numbers import accuracy, number
from evenflow.report.stages import stages

Measured = Callable[[Curve], Sequence[float]]
Write = Callable[[float | None], str]

UNTREATED, TREATED = "untreated", "treated"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure.

    Attributes:
        title: Its heading.
        svg: The image.
        caption: What it shows, in words and numbers.
    """

    title: str
    svg: str
    caption: str


def networks_of(case: Case) -> Networks:
    """Stages of the untreated network and, where there is one, of the treated one."""
    if case.after is None:
        return {UNTREATED: stages(case.before)}
    return {UNTREATED: stages(case.before), TREATED: stages(case.after)}


def depth_figures(case: Case) -> list[Figure]:
    """Draw signal, gradient, histograms and shares against depth, as far as they were measured."""
    networks = networks_of(case)
    drawn = [
        _figure("Signal by depth", signal_chart(networks), _course(networks, rms_of, spread_of)),
        _figure("Gradient by depth", gradient_chart(networks), _course(networks, gradient_of)),
    ]
    drawn += [*_distributions(networks), _shares(networks)]
    return [figure for figure in drawn if figure is not None]


def training_figures(case: Case) -> list[Figure]:
    """Draw the training curves; an empty list where nothing was trained."""
    curves = case.curves
    loss = _ends(curves, lambda curve: curve.loss, number, logarithmic=loss_is_logarithmic(curves))
    correct = _ends(curves, lambda curve: curve.accuracy, accuracy, logarithmic=False)
    drawn = [
        _figure("Training loss", loss_chart(curves), loss),
        _figure("Test accuracy", accuracy_chart(curves), correct),
    ]
    return [figure for figure in drawn if figure is not None]


def _distributions(networks: Networks) -> Iterator[Figure | None]:
    alone = len(networks) == 1
    own_units = any(map(in_own_units, networks.values()))
    unit = ", in units of its root mean square" if own_units else ""
    caption = f"Values that each layer hands on{unit}; the darker, the more of them."
    for (label, network), colour in zip(networks.items(), [ALONE] if alone else SERIES, strict=False):
        title = "Distribution by depth" if alone else f"Distribution by depth, {label}"
        yield _figure(title, histogram_chart(network, colour, own_units=own_units), caption)


def _shares(networks: Networks) -> Figure | None:
    captions = {
        SATURATED: "Saturated: values on a plateau of the activation.",
        DEAD: "Dead: units that are off for every sample.",
    }
    found = share_measures(networks)
    title = f"{' and '.join(found).capitalize()} by depth"
    return _figure(title, share_chart(networks), " ".join(captions[name] for name in found))


def _figure(title: str, chart: alt.Chart | alt.LayerChart | None, caption: str) -> Figure | None:
    return None if chart is None else Figure(title, inline_svg(chart, f"{title}. {caption}"), caption)


def _course(networks: Networks, measure: Measure, *also_drawn: Measure) -> str:
    sentences = []
    for label, network in networks.items():
        course = [value for stage in network if (value := measure(stage)) is not None]
        if course:
            which = f"{label.capitalize()}: from" if len(networks) > 1 else "From"
            ends = f"{number(course[0])} at the first layer to {number(course[-1])} at the last."
            sentences.append(f"{which} {ends}")
    drawn = [m(stage) for m in (measure, *also_drawn) for network in networks.values() for stage in network]
    return " ".join([*sentences, *_odd_marks(drawn)])


def _ends(curves: Sequence[Curve], measure: Measured, write: Write, *, logarithmic: bool) -> str:
    ends = [f"{curve.label} {write(measure(curve)[-1])}" for curve in curves if curve.steps]
    drawn = [value for curve in curves for value in measure(curve)]
    return " ".join([f"At the last step: {', '.join(ends)}.", *_odd_marks(drawn, logarithmic=logarithmic)])


def _odd_marks(values: Iterable[float | None], *, logarithmic: bool = True) -> list[str]:
    known = [value for value in values if value is not None]
    circles, crosses = logarithmic and 0 in known, not all(map(math.isfinite, known))
    return ["Open circles: exactly zero."] * circles + ["Crosses: NaN or infinity."] * crosses
