import os

import pytest

from netserv.cli import main
from netserv.cli_options import parse_arguments


def test_everything_is_measured_in_five_rounds_unless_told_otherwise() -> None:
    options = parse_arguments(["bench"])
    assert (options.what, options.plane, options.rounds, options.seconds) == ([], "auto", 5, 1.0)
    assert (options.bytes, options.containers[-1], options.out) == ((64, 340), 100, None)
    options = parse_arguments(["bench", "rates", "containers", "--containers", "100,10,10", "--bytes", "340"])
    assert (options.what, options.containers, options.bytes) == (["rates", "containers"], (10, 100), (340,))


@pytest.mark.parametrize(
    "words",
    [
        ["everything"],
        ["--rounds", "0"],
        ["--rounds", "x"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "1h"],
        ["--bytes", "65"],
        ["--containers", "1,201"],
        ["--containers", ""],
        ["--plane", "openflow"],
    ],
)
def test_what_is_out_of_bounds_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_arguments(["bench", *words])
    assert raised.value.code == 2


def test_without_root_it_is_said_what_to_do(monkeypatch, capsys) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert main(["bench"]) == 1
    assert "need root: run `sudo netserv bench`" in capsys.readouterr().err
