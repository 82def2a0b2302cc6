"""What docs/apps.md shows works, and is whole."""

import re
import shlex
from pathlib import Path

import pytest

from netserv.apps.sources import NAMES, app_files
from netserv.cli import main
from netserv.errors import LocalProtocolError
from netserv.modules.manifest import read_manifest
from tools.state_diagrams import with_diagrams

PAGE = (Path(__file__).parents[3] / "docs" / "apps.md").read_text()


def test_the_commands_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    assert len(lines) == 3
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "netserv"
        assert main(words) == 0, capsys.readouterr().err
    assert "NetServ.apps.KeepAlive_1.0.0" in capsys.readouterr().out


def test_the_table_of_applications_is_whole() -> None:
    rows = re.findall(r"^\| `(NetServ\.apps\.\w+)` \|.*\| `netserv app ([\w-]+)` \|$", PAGE, re.MULTILINE)
    assert {command: name for name, command in rows} == {
        name: read_manifest(app_files(name)["module.toml"]).name for name in NAMES
    }


def test_the_diagram_of_the_page_is_drawn_from_the_table() -> None:
    assert with_diagrams("apps.md", PAGE) == PAGE


def test_an_application_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(LocalProtocolError, match="keep-alive, net-monitor"):
        app_files("frobnicate")


def test_an_application_and_a_directory_cannot_both_be_built(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["hello", "--app", "keep-alive"], []):
        with pytest.raises(SystemExit) as ended:
            main(["module", "build", *words])
        assert ended.value.code == 2
    assert "--app" in capsys.readouterr().err
