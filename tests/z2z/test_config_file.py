import re
from pathlib import Path

import pytest

from z2z.cli_options import BridgeOptions, parse_arguments
from z2z.config_file import FILE_MAX, FLAGS, WITH_VALUE, arguments, default_path
from z2z.errors import LocalProtocolError
from z2z.trust import Policy

FILE = """
export = ["_daap._tcp", "memory:_ipp._tcp"]
import = "mdht"
key = ["office", "Joe's"]
ttl = 600
poll = 2.5
allow-private = true
local-only = false
trust = "anybody"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "z2z.toml"
    path.write_text(FILE)
    return path


def parsed(*words: str) -> BridgeOptions:
    options = parse_arguments(words)
    assert isinstance(options, BridgeOptions)
    return options


def test_what_the_file_says_holds_without_a_command_line(config: Path) -> None:
    options = parsed("--config", str(config))
    assert options.exports == (("mdht", "_daap._tcp"), ("memory", "_ipp._tcp"))
    assert options.imports == ("mdht",)
    assert options.keys == ("office", "Joe's")
    assert (options.ttl_s, options.poll_s, options.allow_private, options.local_only) == (600, 2.5, True, False)
    assert options.trust is Policy.ANYBODY


def test_what_the_command_line_says_holds_instead(config: Path) -> None:
    options = parsed("--config", str(config), "--key", "home", "--ttl=900", "--trust", "first-use")
    assert (options.keys, options.ttl_s, options.poll_s) == (("home",), 900, 2.5)
    assert options.trust is Policy.FIRST_USE


def test_who_says_what_to_export_or_import_has_said_all_of_it(config: Path) -> None:
    options = parsed("--config", str(config), "--import:memory")
    assert (options.exports, options.imports) == ((), ("memory",))
    assert options.keys == ("office", "Joe's")


def test_the_file_is_found_by_itself_unless_it_is_not_wanted(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("z2z.config_file.SYSTEM_CONFIG", config.parent / "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    assert parsed().imports == ("mdht",)
    with pytest.raises(SystemExit):
        parse_arguments(["--no-config"])
    assert "nothing to do" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent / "nowhere"))
    with pytest.raises(SystemExit):
        parse_arguments([])
    assert default_path({"XDG_CONFIG_HOME": "relative"}) == Path.home() / ".config" / "z2z.toml"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("secret = 'correct horse'", "'secret' is no option for a file"),
        ("once = true", "'once' is no option for a file"),
        ("ttl = 5", "argument --ttl: 5 is not within"),
        ("bootstrap = [1, [2]]", r"bootstrap is a text, a number, or a list of them, not \[2\]"),
        ("ttl = 1979-05-27", "ttl is a text, a number"),
        ("allow-private = 1", "allow-private is true or false, not 1"),
        ("key = ", "is not TOML"),
        ("ttl = " + "9" * 5_000, "is not TOML"),
        ("export = 'ipp'", "not a DNS-SD service type"),
        ("export = 'nowhere:_ipp._tcp'", "unknown store 'nowhere'"),
        ("#" * (FILE_MAX + 1), "some other file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "z2z.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["--config", str(path), *([] if "export" in text else ["--import:memory", "--key=x"])])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="there is no file"):
        arguments(tmp_path / "nothing", [], required=True)
    assert arguments(tmp_path / "nothing", [], required=False) == []
    with pytest.raises(LocalProtocolError):
        arguments(tmp_path, [], required=True)


def test_every_word_of_a_file_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    shown = capsys.readouterr().out
    assert [name for name in WITH_VALUE | FLAGS if f"--{name}" not in shown] == []


def test_that_of_the_machine_is_read_where_a_user_has_none(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setattr("z2z.config_file.SYSTEM_CONFIG", config)
    assert parsed().keys == ("office", "Joe's")
    (home / "z2z.toml").write_text("import = 'memory'\nkey = 'mine'")
    assert parsed().keys == ("mine",)


def test_metrics_may_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "z2z.toml"
    path.write_text("import = 'memory'\nkey = 'x'\nmetrics = 9273")
    assert parsed("--config", str(path)).metrics == ("127.0.0.1", 9273)
    assert parsed("--config", str(path), "--metrics", "[::1]:0").metrics == ("::1", 0)
