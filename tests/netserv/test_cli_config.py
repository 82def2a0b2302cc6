"""`netserv config`, as a user has it."""

import base64
import json
from pathlib import Path

import pytest

from netserv.cli import main
from tests.netserv.controller.test_thesis_xml import ELEMENTS
from tests.netserv.controller.wishes import ALICE


def test_the_example_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    file = tmp_path / "netserv.toml"
    file.write_text(capsys.readouterr().out)
    assert main(["config", "check", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{file} is in order: 1 publishers, 9 blocks\n")
    assert "  alice: prefixes 10.1.0.0/16; ports tcp/8080, udp/5060\n" in said
    assert "warning" not in said


def test_what_is_hardly_meant_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netserv.toml"
    file.write_text("[authorization]\nways = []\n[download]\nallow = ['0.0.0.0/0']\n[signaling]\nthesis_mode = true\n")
    assert main(["config", "check", "--json", str(file)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [warning.split(":")[0] for warning in said["warnings"]] == [
        "no publishers",
        "authorization.ways is empty",
        "signaling.thesis_mode",
        "download.allow",
    ]


def test_whose_modules_are_fetched_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netserv.toml"
    rules = f'[dependencies.publishers]\ncarol = "{base64.b64encode(ALICE.public_key).decode()}"\n'
    file.write_text(rules)
    assert main(["config", "check", str(file)]) == 0
    assert "warning: dependencies.publishers: nothing is fetched without dependencies.fetch" in capsys.readouterr().out
    file.write_text(f"[dependencies]\nfetch = true\n{rules}")
    assert main(["config", "check", str(file)]) == 1
    assert "in the DHT, where the node is with discovery.advertise = true" in capsys.readouterr().err
    file.write_text(f"[discovery]\nadvertise = true\n[dependencies]\nfetch = true\n{rules}")
    assert main(["config", "check", str(file)]) == 0
    assert "  modules that others need are fetched if signed by carol\n" in capsys.readouterr().out


def test_a_mistake_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netserv.toml"
    file.write_text("[caps]\nttl_s = 0")
    assert main(["config", "check", str(file)]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert f"{file}: caps.ttl_s: expected `int` >= 1" in said.err
    assert len(said.err.splitlines()) == 1
    assert main(["config", "import-xml", str(file)]) == 1
    assert "line 1: not XML" in capsys.readouterr().err


def test_the_thesis_form_becomes_a_file_that_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "netserv.xml", tmp_path / "netserv.toml"
    old.write_text(ELEMENTS)
    assert main(["config", "import-xml", str(old)]) == 0
    new.write_text(capsys.readouterr().out)
    assert new.read_text().startswith("# From netserv.xml, by `netserv config import-xml`.\n")
    assert main(["config", "check", str(new)]) == 0
    assert "2 publishers" in capsys.readouterr().out
