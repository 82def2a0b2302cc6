import pytest

from netserv.cli_options import parse_arguments


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("signal", "the following arguments are required: ACTION"),
        ("signal stop", "invalid choice: 'stop'"),
        ("signal daemon --port 0", "'0' is not within 1..65535"),
        ("signal daemon --interceptor bpf", "invalid choice: 'bpf'"),
        ("signal daemon --validity 0.5", "'0.5' is not within 1..3600 seconds"),
        ("signal daemon --validity inf", "'inf' is not within 1..3600 seconds"),
        ("signal daemon --node-id a/b", "'a/b': up to 63 letters"),
        ("signal daemon --metrics nowhere", "'nowhere' is neither a port"),
        ("probe", "required: --toward"),
        ("probe --toward a --what Status", "'Status' is no list of words"),
        ("probe --toward a --what status,", "no list of words"),
        ("probe --toward a --timeout 0", "'0' is not within 0..600 seconds"),
        ("probe --toward a --timeout nan", "'nan' is not within"),
        ("send --toward a", "required: FILE"),
        ("key new", "required: FILE"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments(words.split())
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("netserv")
    assert said in line
    assert line.endswith("--help")


@pytest.mark.parametrize("words", ["", "signal", "signal daemon", "signal status", "probe", "send", "key", "key new"])
def test_every_command_has_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments([*words.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: netserv {words}".rstrip() in capsys.readouterr().out


def test_the_words_after_a_probe_are_what_is_asked_for() -> None:
    options = parse_arguments(
        ["probe", "NetServ.apps.NetMonitor_1.0.0", "--toward", "b", "--what", "status,load", "--json"]
    )
    assert (options.target, options.what) == ("NetServ.apps.NetMonitor_1.0.0", ("status", "load"))
