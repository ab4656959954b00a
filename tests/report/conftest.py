import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("report_factory", Path(__file__).with_name("factory.py"))


@pytest.fixture(scope="session")
def make():
    """The factory of hand-written records."""
    module = importlib.util.module_from_spec(SPEC)
    sys.modules[SPEC.name] = module
    SPEC.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def extremes(make):
    """Diagnoses at the edges of what a record can hold, by name."""
    nan, inf = float("nan"), float("inf")
    broken = make.moments(nan, nonfinite=7)
    hostile = "<script>alert('x')</script>[bold]&\"ünï"
    bare = make.layer(signal=make.moments(0.3, spread=None, samples=1), activation=None)
    mixed = [
        make.layer(0, signal=make.moments(1e-30, counts=make.bell())),
        make.layer(1, signal=make.moments(0.0, counts=(9,), reach=0.0), gradient=make.moments(0.0)),
        make.layer(2, signal=broken, gradient=make.moments(inf, nonfinite=3)),
        make.layer(3, signal=make.moments(1e30, counts=make.bell()), gradient=make.moments(1e-38)),
        make.layer(4, activation="relu", saturated=1.0, dead=1.0),
    ]
    named = [make.layer(0, name=hostile, kind="<b>"), make.layer(1, name="a.very.long.name." * 12, call=3)]
    words = {"explanation": hostile, "remedy": hostile, "evidence": {"<i>": "</dd>", "number": nan}}
    return {
        "no layers": make.diagnosis([]),
        "no findings": make.even_tanh(4),
        "one sample": make.diagnosis([bare], samples=1),
        "not finite and zero": make.diagnosis(mixed, [make.finding("non-finite", layer="layers.2")], loss=nan),
        "hostile names": make.diagnosis(
            named,
            [make.finding(layer=hostile, layers=(hostile, "b"), **words)],
            [make.Advice(hostile, hostile)],
            model=hostile,
        ),
        "300 layers": make.saturated_tanh(300),
        "only a note": make.diagnosis([make.layer()], [make.finding(severity="note")]),
    }
