"""Check, treat, check again, train both."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

from evenflow.data import Split
from evenflow.demo.cases import SickNetwork
from evenflow.demo.training import EPOCHS, Run, train
from evenflow.diagnose import Diagnosis, TreatmentRecord, check, treat_

SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Proof:
    """One sick network, its treatment, and both trained.

    Attributes:
        case: The network.
        before: Its diagnosis.
        treatment: What was done, and the diagnosis after it.
        untreated: The training run of the network as it was.
        treated: The training run of its treated copy, from the same batches in the same order.
    """

    case: SickNetwork
    before: Diagnosis
    treatment: TreatmentRecord
    untreated: Run
    treated: Run


def prove(
    case: SickNetwork,
    data: Split,
    say: Callable[[Diagnosis, TreatmentRecord], None] = lambda *_: None,
    tick: Callable[[], None] = lambda: None,
    epochs: int = EPOCHS,
) -> Proof:
    """Diagnose a network, treat a copy of it, and train both.

    Args:
        case: The network.
        data: What to check on (the first 256 samples) and to train on.
        say: Called with the diagnosis and the treatment before training starts.
        tick: Called after every training step of either network.
        epochs: Passes over the training set for each.
    """
    sick = case.build()
    before = check(sick, (data.inputs[:SAMPLES], data.targets[:SAMPLES]))
    cured = copy.deepcopy(sick)
    treatment = treat_(cured, before)
    say(before, treatment)
    untreated = train(sick, data, tick, epochs)
    treated = train(cured, data, tick, epochs)
    return Proof(case, before, treatment, untreated, treated)
