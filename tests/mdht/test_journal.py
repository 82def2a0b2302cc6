import io
import logging
import os
from pathlib import Path

import pytest

from mdht.journal import OneLine, is_journal, printable, priority, set_up_logging


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("x", level, "file", 1, "said %r: %s", ("a", text), None)


def test_a_line_says_the_program_or_for_the_journal_the_priority() -> None:
    hostile = "two\nlines \x1b[2J"
    assert OneLine("z2z", journal=False).format(record(logging.INFO, hostile)) == r"z2z: said 'a': two\nlines \x1b[2J"
    assert OneLine("z2z", journal=True).format(record(logging.WARNING, "x")) == "<4>said 'a': x"


@pytest.mark.parametrize(
    ("level", "mark"),
    [(logging.CRITICAL, "<3>"), (logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (25, "<6>"), (logging.DEBUG, "<7>")],
)
def test_levels_have_the_priorities_of_syslog(level: int, mark: str) -> None:
    assert priority(level) == mark


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


def test_what_is_logged_comes_as_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level, stream = root.level, io.StringIO()
    try:
        set_up_logging("mdht", stream, logging.INFO)
        logging.getLogger("x").info("a\nb")
        logging.getLogger("x").debug("not this")
    finally:
        root.setLevel(level)
    assert stream.getvalue() == "mdht: a\\nb\n"
    assert printable("ü\u2028") == "ü\\u2028"
