from evenflow.report.verdict import verdict


def test_errors_make_a_network_sick_and_name_the_root_cause(make):
    said = verdict(make.saturated_tanh())
    assert (said.state, said.word) == ("error", "Sick")
    assert said.reason == "gain mismatch at layers.0"
    assert said.tally == "3 errors, 1 warning in 20 layers"


def test_warnings_alone_do_not_make_it_sick(make):
    said = verdict(make.diagnosis([make.layer()], [make.finding("dead", "warning")]))
    assert (said.state, said.reason) == ("warning", "dead units at layers.0")


def test_notes_alone_leave_it_healthy(extremes):
    said = verdict(extremes["only a note"])
    assert (said.state, said.reason, said.tally) == ("ok", "", "1 note in 1 layer")


def test_a_network_without_findings_is_healthy(make):
    assert verdict(make.even_tanh(3)).tally == "nothing wrong found in 3 layers"


def test_the_cause_is_that_of_the_worst_finding_not_of_a_note_before_it(make):
    note, error = make.finding("input-scale", "note", "input"), make.finding("dead", "error", "layers.0")
    assert verdict(make.diagnosis([make.layer()], [note, error])).reason == "dead units at layers.0"


def test_a_warning_that_causes_an_error_is_the_cause(make):
    warning = make.finding("gain-mismatch", "warning")
    error = make.finding("saturated", "error", cause="gain-mismatch")
    assert verdict(make.diagnosis([make.layer()], [warning, error])).cause == "Gain mismatch"


def test_nan_keeps_its_capitals(extremes):
    assert verdict(extremes["not finite and zero"]).reason == "NaN or infinity at layers.2"
