import io
import json
import logging
import os

import pytest

from z2z.cli_output import Terminal, set_up_logging
from z2z.reports import Report

EXPORTED = Report(event="exported", service="P", service_type="_ipp._tcp")
EXPECTED = Report(event="skipped", service="P", service_type="_ipp._tcp", reason="x", detail=True)
REFUSED = Report(event="refused", service="P", service_type="_ipp._tcp", reason="forged")


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (-1, ["refused P (_ipp._tcp): forged"]),
        (0, ["exported P (_ipp._tcp)", "refused P (_ipp._tcp): forged", "note"]),
        (1, ["exported P (_ipp._tcp)", "skipped P (_ipp._tcp): x", "refused P (_ipp._tcp): forged", "note"]),
    ],
)
def test_verbosity_chooses_the_lines(verbosity, lines):
    stream = io.StringIO()
    terminal = Terminal(stream, json=False, verbosity=verbosity)
    for report in (EXPORTED, EXPECTED, REFUSED):
        terminal.say(report)
    terminal.note("note")
    assert stream.getvalue().splitlines() == lines


def test_json_is_one_object_a_line_and_nothing_else():
    stream = io.StringIO()
    terminal = Terminal(stream, json=True, verbosity=0)
    terminal.note("note")
    terminal.say(REFUSED)
    terminal.records([EXPORTED])
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["reason"], second["service"]) == ("refused", "forged", "P")


def test_a_table_lines_up_and_hides_control_characters():
    stream = io.StringIO()
    Terminal(stream, json=False, verbosity=0).table(("A", "B"), [("x\x1b[2J", "1"), ("yy", "2")])
    assert stream.getvalue().splitlines() == ["A         B", "x\\x1b[2J  1", "yy        2"]


def test_a_reader_that_is_gone_does_not_stop_the_work():
    out, into = os.pipe()
    os.close(out)
    with os.fdopen(into, "w") as stream:
        terminal = Terminal(stream, json=False, verbosity=0)
        terminal.say(EXPORTED)
        terminal.say(EXPORTED)


def test_a_log_record_is_one_line(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(0)
        logging.getLogger("z2z.x").warning("line\nbreak %s", "\x1b")
        logging.getLogger("z2z.x").info("hidden")
        assert capsys.readouterr().err == "z2z: line\\nbreak \\x1b\n"
        set_up_logging(2)
        assert root.level == logging.DEBUG
    finally:
        root.handlers[:], root.level = handlers, level
