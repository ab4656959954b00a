import sys

import pytest


@pytest.fixture(params=["check", "demo"])
def command(request, write):
    write("def build(): raise AssertionError('the page is looked at before the work')")
    return ["check", "own.py:build"] if request.param == "check" else ["demo"]


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("nowhere/page.html", "--html nowhere/page.html: there is no folder nowhere; create it, or name another file"),
        (".", "--html . is a folder; name a file in it, such as report.html"),
        ("/proc/page.html", "--html /proc/page.html cannot be written (No such file or directory); name another file"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_the_work(refused, command, html, said):
    assert refused(*command, "--html", html)[0] == said


@pytest.mark.parametrize("package", ["altair", "vl_convert", "jinja2"])
def test_without_the_extra_the_message_says_what_to_install(refused, command, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(*command, "--html", "page.html")[0]
    assert package in message
    assert "pip install 'evenflow[report]'" in message


def test_looking_leaves_nothing_behind_and_nothing_changed(cli, write, tmp_path):
    write()
    (tmp_path / "old.html").write_text("old")
    for page in ("new.html", "old.html"):
        assert cli("check", "own.py:bild", "--html", page).exit_code == 2
    assert not (tmp_path / "new.html").exists()
    assert (tmp_path / "old.html").read_text() == "old"


def test_a_full_disk_exits_as_called_wrongly(cli, write):
    write()
    result = cli("check", "own.py:build", "--data", "own.py:batches", "--html", "/dev/full")
    assert result.exit_code == 2
    assert "--html /dev/full cannot be written (No space left on device); name another file" in result.stderr
