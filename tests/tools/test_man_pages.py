import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.man_pages import NAMES, PAGES, main, page, roff


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_that_of_the_help(name: str) -> None:
    assert (PAGES / f"{name}.1").read_text() == page(name), "run: python -m tools.man_pages --write"


def formatted(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which(words[0]), "tools/install_system.sh installs it"
    environ = {"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"}
    return subprocess.run([*words, str(path)], capture_output=True, text=True, check=True, env=environ)


@pytest.mark.parametrize("name", NAMES)
def test_formatters_find_nothing_wrong_with_a_page(name: str) -> None:
    path = PAGES / f"{name}.1"
    assert formatted(path, "groff", "-ww", "-man", "-Tutf8").stderr == ""
    shown = formatted(path, "man", "--warnings", "-l")
    assert shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout)
    heads = re.findall(r"^[A-Z][A-Z ]+$", text, re.MULTILINE)
    assert heads[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"]
    assert {"EXAMPLES", "EXIT STATUS", "SEE ALSO"} <= set(heads)
    assert f"{name} - " in text


def test_a_formatter_does_find_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "wrong.1"
    path.write_text(page("z2z") + ".no_such_macro\n")
    assert "no_such_macro" in formatted(path, "groff", "-ww", "-man", "-Tutf8").stderr


def test_what_roff_would_take_for_its_own_stays_text(tmp_path: Path) -> None:
    text = '\'tis .TH \\fB `a-b` ~ ^ "x"'
    path = tmp_path / "text.1"
    path.write_text(f'.TH X 1 "" x\n.SH NAME\n{roff(text)}\n{roff(".SH no")}\n')
    assert f"{text} .SH no" in formatted(path, "man", "--warnings", "-l").stdout


def test_the_tool_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.count(".SH NAME\n") == len(NAMES)
    monkeypatch.setattr("tools.man_pages.PAGES", tmp_path / "man")
    assert main(["--write"]) == 0
    assert (tmp_path / "man" / "z2z.1").read_text() == page("z2z")
