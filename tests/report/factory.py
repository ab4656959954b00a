"""Hand-written records: networks as a probe would write them down, without running any."""

import math
from dataclasses import dataclass

import torch

from evenflow.clip import NormClipper
from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.finding import Finding
from evenflow.diagnose.treat.prescription import Prescription
from evenflow.probe.records import (
    Activation,
    Histogram,
    LayerRecord,
    LossRecord,
    Moments,
    NetworkRecord,
    ParameterRecord,
)
from evenflow.theory import Fans

UNITS, SAMPLES = 64, 128


@dataclass(frozen=True)
class Advice:
    """A remedy of words and code only."""

    sentence: str
    script: str = ""

    def describe(self):
        return self.sentence

    def code(self):
        return self.script


def moments(rms=1.0, *, spread="rms", nonfinite=0, counts=None, reach=None, samples=SAMPLES):
    reach = 3 * rms if reach is None else reach
    histogram = Histogram(-reach, reach, counts) if counts and math.isfinite(reach) else None
    return Moments(
        shape=(samples, UNITS),
        mean=0.0,
        std=rms,
        rms=rms,
        low=-reach,
        high=reach,
        spread=rms if spread == "rms" else spread,
        norm=rms * math.sqrt(UNITS),
        nonfinite=nonfinite,
        histogram=histogram,
    )


def bell(bins=40, width=0.35):
    return tuple(round(1000 * math.exp(-(((2 * i + 1) / bins - 1) ** 2) / (2 * width**2))) for i in range(bins))


def at_both_ends(bins=40):
    return (900, *(10 for _ in range(bins - 2)), 900)


def layer(
    index=0,
    *,
    name=None,
    kind="Linear",
    role="weight",
    signal=None,
    gradient=None,
    activation="tanh",
    **options,
):
    output = signal or moments(counts=bell())
    saturated, dead = options.pop("saturated", None), options.pop("dead", None)
    name = name or f"layers.{index}"
    weight = ParameterRecord(f"{name}.weight", (UNITS, UNITS), True, 0.1, 6.4, 0, UNITS, UNITS, 0.5, 0, UNITS)
    return LayerRecord(
        index=index,
        name=name,
        kind=kind,
        role=role,
        call=options.pop("call", 0),
        fans=Fans(UNITS, UNITS),
        sources=options.pop("sources", (index - 1,) if index else ()),
        bypassed=False,
        normalised=options.pop("normalised", False),
        input=moments(),
        output=output,
        gradient=gradient,
        activation=Activation(activation, None, output, output, saturated, dead, UNITS) if activation else None,
        parameters=(weight,),
        **options,
    )


def network(layers, *, model="MLP", samples=SAMPLES, loss=2.31):
    return NetworkRecord(
        model=model,
        samples=samples,
        inputs=(),
        layers=tuple(layers),
        output=moments(),
        loss=LossRecord("cross-entropy", loss, math.log(10), 10),
    )


def diagnosis(layers, findings=(), remedies=(), **options):
    return Diagnosis(network(layers, **options), tuple(findings), Prescription(tuple(remedies)))


def finding(rule="saturated", severity="error", layer="layers.0", **options):
    return Finding(
        rule=rule,
        severity=severity,
        layer=layer,
        evidence=options.pop("evidence", {"saturated": 0.94, "units": UNITS}),
        explanation=options.pop(
            "explanation", f"94 % of the values of {layer} lie on a plateau, so no gradient passes."
        ),
        remedy=options.pop("remedy", "Draw the weights by the rule of the activation (Glorot)."),
        **options,
    )


def saturated_tanh(depth=20):
    """A tanh network with weights from N(0, 1): saturated, with gradients that explode backwards."""
    layers = [
        layer(
            i,
            signal=moments(
                0.97 if i < depth - 1 else 7.6, counts=at_both_ends() if i < depth - 1 else bell(), reach=1.0
            ),
            gradient=moments(1e-3 * 2.2 ** (depth - i)),
            activation="tanh" if i < depth - 1 else None,
            saturated=0.94 - 0.002 * i if i < depth - 1 else None,
        )
        for i in range(depth)
    ]
    names = tuple(f"layers.{i}" for i in range(depth))
    findings = (
        finding(
            "gain-mismatch",
            evidence={"gain": 8.0, "wanted_gain": 1.6667, "compound": 3.1e13, "weight_rms": 1.0},
            explanation="The weights of layers.0 multiply the signal by 8, where tanh wants 1 to 1.67. "
            "Over 20 such layers it adds up to a factor of 3.1e+13.",
            layers=names,
        ),
        finding("saturated", layers=names[:-1], cause="gain-mismatch"),
        finding(
            "exploding-gradient",
            layer="layers.3",
            explanation="The gradient grows by a factor of 7.1e+06 from the last layer to layers.3.",
            layers=names[3:],
            cause="saturated",
        ),
        finding("loss-at-start", "warning", "loss", evidence={"loss": 23.1}, cause="gain-mismatch"),
    )
    remedies = (
        Advice(
            f"re-initialise layers.0.weight and {depth - 1} more by glorot_normal_, biases to zero",
            redraw("glorot_normal_", names),
        ),
        Advice(
            "clip the gradient norm at 1 before every optimizer step",
            "ef.clip.clip_grad_norm_(model.parameters(), 1)",
        ),
    )
    return diagnosis(layers, findings, remedies, model="TanhNetwork", loss=23.1)


def even_tanh(depth=20):
    """The same network as it should be."""
    layers = [
        layer(
            i,
            signal=moments(0.62 - 0.004 * i, counts=bell(), reach=1.0),
            gradient=moments(1e-3 * 1.03**i),
            activation="tanh" if i < depth - 1 else None,
            saturated=0.02 if i < depth - 1 else None,
        )
        for i in range(depth)
    ]
    return diagnosis(layers, model="TanhNetwork")


def vanishing_relu(depth=30):
    """A ReLU network drawn by Glorot's rule: signal and gradient halve in variance from layer to layer."""
    layers = [
        layer(
            i,
            name=f"body.{2 * i}",
            signal=moments(0.7**i, counts=(3000, *bell(39)[20:]), reach=2.1 * 0.7**i),
            gradient=moments(1e-3 * 0.7 ** (depth - i)),
            activation="relu" if i < depth - 1 else None,
            dead=min(0.02 * i, 0.4) if i < depth - 1 else None,
        )
        for i in range(depth)
    ]
    names = tuple(f"body.{2 * i}" for i in range(depth))
    findings = (
        finding(
            "gain-mismatch",
            layer="body.0",
            evidence={"gain": 1.0, "wanted_gain": 1.4142, "compound": 2.3e-5},
            explanation="The weights of body.0 multiply the signal by 1, where relu wants 1.41: too small. "
            "Over 30 such layers it adds up to a factor of 2.3e-05.",
            remedy="Draw the weights by the rule of the activation (He).",
            layers=names,
        ),
        finding("vanishing-signal", layer="body.24", layers=names[12:], cause="gain-mismatch"),
        finding(
            "input-scale",
            "note",
            "input",
            evidence={},
            explanation="The inputs have mean 4.9.",
            remedy="Standardise.",
        ),
    )
    remedies = (Advice(f"re-initialise body.0.weight and {depth - 1} more by he_normal_", redraw("he_normal_", names)),)
    return diagnosis(layers, findings, remedies, model="ReluNetwork")


def redraw(rule, names):
    lines = [f'    ("{name}.weight", {UNITS}, {UNITS}),' for name in names]
    return "\n".join(
        [
            "import evenflow as ef",
            "",
            "for name, fan_in, fan_out in [",
            *lines,
            "]:",
            f"    ef.init.{rule}(...)",
        ]
    )


def clipper(name="layer.weight", steps=60):
    """A clipper that has clipped, skipped, and met NaN."""
    parameters = [(name, torch.nn.Parameter(torch.zeros(3))), ("layer.bias", torch.nn.Parameter(torch.zeros(1)))]
    made = NormClipper(parameters, 1.0)
    for step in range(steps):
        size = float("nan") if step == 20 else 30.0 if step % 9 == 4 else 0.4 + 0.01 * (step % 7)
        for _, parameter in parameters:
            parameter.grad = torch.full_like(parameter, size)
        made.step()
    return made
