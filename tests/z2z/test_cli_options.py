from pathlib import Path

import pytest

from z2z.cli_look_options import BrowseOptions, StatusOptions
from z2z.cli_options import (
    BridgeOptions,
    parse_arguments,
)
from z2z.cli_values import default_site_name, default_state_dir


def parse(line: str) -> BridgeOptions:
    options = parse_arguments(line.split())
    assert isinstance(options, BridgeOptions)
    return options


def test_the_store_is_part_of_the_option():
    options = parse("--export _daap._tcp --export:stream _IPP._tcp.local. --import --import:memory --key office")
    assert options.exports == (("mdht", "_daap._tcp"), ("stream", "_ipp._tcp"))
    assert options.imports == ("mdht", "memory")


def test_the_thesis_intervals_are_the_defaults():
    options = parse("--export _daap._tcp --key office")
    assert (options.ttl_s, options.refresh_s, options.poll_s, options.stale_s) == (300, 60, 10, 300)
    assert (options.keys, options.interface, options.bootstrap) == (("office",), None, ())
    assert not options.map_port
    assert parse("--import --key x --map-port").map_port
    assert options.identity == options.state_dir / "identity.pem"


def test_equal_keys_count_once_and_stay_as_typed_first():
    assert parse("--import --key Office --key home --key o-f-f-i-c-e").keys == ("Office", "home")


def test_a_stream_needs_no_key():
    assert parse("--import:stream").keys == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "nothing to do"),
        ("--export daap", "not a DNS-SD service type"),
        ("--export _daap", "not a DNS-SD service type"),
        ("--export _seventeencharact._tcp", "not a DNS-SD service type"),
        ("--export _x._tcp --key -", "no letter and no digit"),
        ("--import", "needs a --key"),
        ("--import:memory", "needs a --key"),
        ("--export:nowhere _x._tcp", "unknown store 'nowhere'"),
        ("--import: --key x", "unknown store ''"),
        ("--export _ssh._tcp", "--force-type"),
        ("--export _x._tcp --ttl 5", "not within 10"),
        ("--export _x._tcp --ttl x", "not a number"),
        ("--export _x._tcp --ttl 100 --refresh 60", "at most half"),
        ("--export _x._tcp --refresh nan", "not within"),
        ("--import --key x --poll 0", "not within"),
        ("--import --key x --bootstrap host:0", "port '0'"),
        ("--import --key x --bootstrap host:65536", "port '65536'"),
        ("--import --key x --site \x07", "site name"),
        ("--import --key x --password y", "unrecognized"),
        ("--exp _x._tcp", "unrecognized"),
        ("browse daap", "not a DNS-SD service type"),
        ("browse --seconds 0", "not within"),
        ("status extra", "unrecognized"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(line, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(line.split(" ") if line else [])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(["--help"])
    assert stop.value.code == 0
    assert "z2z --export _daap._tcp --key office" in capsys.readouterr().out


def test_sensitive_types_pass_when_asked_for_twice():
    assert parse("--export _ssh._tcp --force-type").force_type


def test_the_commands_that_look():
    assert parse_arguments(["browse"]) == BrowseOptions(service_type=None, interface=None, seconds=3.0, json=False)
    assert parse_arguments(["browse", "_ipp._tcp", "--json"]).json
    status = parse_arguments(["status", "--state-dir", "/x"])
    assert status == StatusOptions(state_dir=Path("/x"), json=False)


def test_quiet_and_verbose():
    assert [parse(f"--import:stream {flag}").verbosity for flag in ("-q", "", "-v", "-vv")] == [-1, 0, 1, 2]


def test_the_state_directory_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/var/x")
    assert default_state_dir() == Path("/var/x/z2z")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/tom")
    assert default_state_dir() == Path("/home/tom/.local/state/z2z")


def test_the_site_is_named_after_the_host(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "lab7.example.org")
    assert default_site_name() == "lab7"
    monkeypatch.setattr("socket.gethostname", lambda: "")
    assert default_site_name() == "site"


def test_maps_are_checked_together_and_belong_to_their_direction(tmp_path, capsys):
    config = tmp_path / "z2z.toml"
    config.write_text(
        'map = ["192.168.1.5=203.0.113.7", "192.168.1.6=203.0.113.8"]\nmap-import = "10.0.0.0/8=11.0.0.0/8"\n'
    )
    options = parse_arguments(["--export", "_x._tcp", "--config", str(config)])
    assert [str(each) for each in options.export_map.mappings] == ["192.168.1.5=203.0.113.7", "192.168.1.6=203.0.113.8"]
    assert [str(each) for each in options.import_map.mappings] == ["10.0.0.0/8=11.0.0.0/8"]
    for words, complaint in (
        (["--export", "_x._tcp", "--map", "192.168.1.5"], "argument --map: '192.168.1.5' is no mapping"),
        (["--export", "_x._tcp", "--map=10.0.0.1=10.1.0.1", "--map=10.0.0.1=10.1.0.2"], "both say where 10.0.0.1 is"),
        (["--import", "--key=x", "--map", "192.168.1.5=203.0.113.7"], "translated by --map-import"),
        (["--export", "_x._tcp", "--map-import=192.168.1.5=203.0.113.7"], "translated by --map"),
    ):
        with pytest.raises(SystemExit) as caught:
            parse_arguments([*words, "--no-config"])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert complaint in line


@pytest.mark.parametrize("number", ["59", "60001", "many"])
def test_a_multicast_budget_is_within_bounds(number, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--export", "_x._tcp", "--no-config", "--multicast-max", number])
    assert "argument --multicast-max" in capsys.readouterr().err
    assert parse_arguments(["--export", "_x._tcp", "--no-config", "--multicast-max=60"]).multicast_max == 60
