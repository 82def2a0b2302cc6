import argparse
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.options import config_of, key_of, parse_arguments
from mdht.state import default_state_dir


def test_a_key_is_text_or_forty_digits() -> None:
    assert key_of("office") == hashlib.sha1(b"mdht.office").digest()
    assert key_of("0x" + "aB" * 20) == bytes.fromhex("ab" * 20)
    for text in ("", "0x12", "0x" + "g" * 40):
        with pytest.raises(argparse.ArgumentTypeError):
            key_of(text)


@given(st.text(min_size=1).filter(lambda text: not text.startswith("0x")))
def test_any_other_text_is_a_key(text: str) -> None:
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return  # no argument of a process can hold it
    assert len(key_of(text)) == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["eat"], "invalid choice"),
        (["get"], "KEY"),
        (["get", ""], "a key is not empty"),
        (["get", "0x1"], "40 hexadecimal digits"),
        (["put", "k"], "VALUE"),
        (["put", "k", "v", "--ttl", "0"], "not within 1..604800 seconds"),
        (["put", "k", "v", "--ttl", "nan"], "not within 1..604800 seconds"),
        (["put", "k", "v", "--ttl", "700000"], "not within 1..604800 seconds"),
        (["put", "k", "v", "--name", "n" * 65], "at most 64 bytes"),
        (["run", "--port", "0"], "not within 1..65535"),
        (["run", "--port", "65536"], "not within 1..65535"),
        (["run", "--bootstrap", "host:port"], "port 'port'"),
        (["run", "--merge", "always"], "invalid choice"),
        (["run", "--subnet", "n" * 65], "1 to 64 bytes"),
        (["run", "--network", ""], "1 to 64 printable"),
        (["run", "--policy", "twice"], "there are single, full, fixed:N"),
        (["run", "--policy", "fixed:0"], "1 to 255 replicas"),
        (["run", "--cache", "0"], "neither off nor within 1..3600 seconds"),
        (["run", "--cache", "on"], "neither off nor within 1..3600 seconds"),
        (["run", "--peer", "host.example.org"], "a host of the link is named by its address"),
        (["run", "--peer", "192.0.2.7:0"], "port"),
        (["run", "--public", "home.example.org:27183"], "no numeric address"),
        (["run", "--public", "198.51.100.7"], "with a port"),
        (["run", "--public", "0.0.0.0:27183"], "no numeric address"),
        (["run", "--public", "198.51.100.7:port"], "port 'port'"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["--help"])
    assert caught.value.code == 0
    assert "mdht put office" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "keep_s"), [([], 60.0), (["--cache", "5"], 5.0), (["--cache", "off"], None)])
def test_records_of_others_are_cached_for_a_minute_or_as_told(arguments: list[str], keep_s: float | None) -> None:
    cache = config_of(parse_arguments(["run", *arguments]), lasting=True).keeping.cache
    assert (None if cache is None else cache.keep_s) == keep_s


@pytest.mark.parametrize(
    ("arguments", "policy"), [([], "fixed:3"), (["--policy", "adaptive:02:1.50"], "adaptive:2:1.5")]
)
def test_a_subnet_that_is_founded_has_three_copies_or_what_is_told(arguments: list[str], policy: str) -> None:
    assert config_of(parse_arguments(["run", *arguments]), lasting=True).keeping.policy == policy


def test_a_lasting_node_keeps_state_and_port_and_a_passing_one_does_not() -> None:
    options = parse_arguments(["run", "--bootstrap", "a.example:1", "--bootstrap", "b.example", "--state-dir", "/d"])
    lasting, passing = config_of(options, lasting=True), config_of(options, lasting=False)
    assert (lasting.port, lasting.port_required, lasting.state_dir) == (27183, False, Path("/d"))
    assert (passing.port, passing.port_required, passing.state_dir) == (0, False, None)
    assert lasting.bootstrap == passing.bootstrap == ("a.example:1", "b.example")
    named = config_of(parse_arguments(["run", "--port", "4000", "--no-presence"]), lasting=True)
    assert (named.port, named.port_required, named.presence) == (4000, True, False)


@given(st.text(min_size=1, max_size=64))
def test_each_network_has_a_directory_below_ours(network: str) -> None:
    try:
        path = default_state_dir({"XDG_STATE_HOME": "/state"}, network)
    except UnicodeEncodeError:
        return  # a lone surrogate is no printable character, so no network has it
    assert path.parent == Path("/state/mdht")
    assert path.name not in (".", "..")
    assert default_state_dir({"XDG_STATE_HOME": "relative"}, network).is_relative_to(Path.home())


def test_peers_are_addresses_with_or_without_a_port() -> None:
    words = ["run", "--peer", "192.0.2.7", "--peer", "[2001:db8::7]:4000"]
    config = config_of(parse_arguments(words), lasting=False)
    assert config.peers == (("192.0.2.7", 27183), ("2001:db8::7", 4000))


def test_peers_are_few_and_on_a_link() -> None:
    peers = [word for number in range(65) for word in ("--peer", f"192.0.2.{number}")]
    with pytest.raises(LocalProtocolError, match="at most 64"):
        config_of(parse_arguments(["run", *peers]), lasting=False)
    with pytest.raises(LocalProtocolError, match="on none"):
        config_of(parse_arguments(["run", "--no-presence", "--peer", "192.0.2.7"]), lasting=False)


def test_subnets_of_one_link_are_merged_unless_that_is_not_wanted(tmp_path: Path) -> None:
    for arguments, merge in (([], "auto"), (["--merge", "never"], "never")):
        options = parse_arguments(["run", "--state-dir", str(tmp_path), *arguments])
        assert config_of(options, lasting=True).merge == merge


def test_where_others_reach_a_host_is_an_address_with_a_port() -> None:
    wanted = {"198.51.100.7:4000": ("198.51.100.7", 4000), "[2001:DB8::7]:4000": ("2001:db8::7", 4000)}
    for text, expected in wanted.items():
        assert config_of(parse_arguments(["run", "--public", text]), lasting=True).public == expected
    assert config_of(parse_arguments(["run"]), lasting=True).public is None


def test_the_router_is_asked_for_a_port_only_where_the_user_wants_that() -> None:
    assert not config_of(parse_arguments(["run"]), lasting=True).map_port
    assert config_of(parse_arguments(["run", "--map-port"]), lasting=True).map_port
    assert not config_of(parse_arguments(["get", "key"]), lasting=False).map_port
    with pytest.raises(LocalProtocolError, match="not both"):
        config_of(parse_arguments(["run", "--map-port", "--public", "198.51.100.7:4000"]), lasting=True)


def test_host_keys_are_for_whoever_asks_for_them() -> None:
    for words in (["run"], ["put", "k", "v"], ["members"]):
        assert parse_arguments([*words, "--host-keys"]).host_keys
        assert not parse_arguments(words).host_keys
    assert config_of(parse_arguments(["run", "--host-keys"]), lasting=True).host_keys
