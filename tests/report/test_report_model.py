import pytest

from evenflow.errors import ParameterValueError
from evenflow.report import Case, Curve, Report
from evenflow.report.model import parameter_count


def test_the_target_counts_as_reached_at_the_first_step_at_or_above_it():
    curve = Curve("run", (0, 10, 20, 30), (2.0, 1.0, 0.5, 0.7), (0.1, 0.9, 0.5, 0.95))
    outcome = curve.outcome()
    assert (outcome.steps_to_target, outcome.accuracy, outcome.loss) == (10, 0.95, 0.7)


def test_a_target_that_is_not_reached_is_none():
    assert Curve("run", (0, 10), (2.0, 2.0), (0.1, 0.8999)).outcome().steps_to_target is None


def test_a_run_that_was_never_measured_has_no_figures():
    outcome = Curve("run", (), (), ()).outcome()
    assert (outcome.accuracy, outcome.loss, outcome.steps_to_target) == (None, None, None)


def test_a_curve_of_unequal_lengths_is_refused():
    with pytest.raises(ParameterValueError, match=r"same length; got \(2, 1, 2\) for 'run'"):
        Curve("run", (0, 1), (2.0,), (0.1, 0.2))


def test_a_report_without_cases_is_refused():
    with pytest.raises(ParameterValueError, match="at least one Case"):
        Report("nothing", ())


def test_the_treatment_is_the_prescription_unless_told(make):
    sick = make.vanishing_relu(6)
    assert Case("t", "", sick).sentences == ("re-initialise body.0.weight and 5 more by he_normal_",)
    assert Case("t", "", sick).script == sick.prescription.to_code()
    told = Case("t", "", sick, treatment=("by hand",), code="pass")
    assert (told.sentences, told.script) == (("by hand",), "pass")


def test_the_treatment_names_all_layers_of_a_deep_network(make):
    assert "29 more" in Case("t", "", make.vanishing_relu(30)).sentences[0]


def test_a_parameter_that_two_layers_share_counts_once(make):
    first, again = make.layer(0, name="shared"), make.layer(1, name="shared", call=1)
    assert parameter_count(make.diagnosis([first, again])) == make.UNITS**2
