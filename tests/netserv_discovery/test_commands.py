"""The commands against a DHT in memory, behind the control socket of a running mdht."""

import argparse
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from mdht.control import control_path, serve_control
from mdht.signing import SigningKey
from netserv_discovery import cli_advertise, cli_find, cli_index
from netserv_discovery.cli import main
from netserv_discovery.cli_advertise import merged, policy_of
from netserv_discovery.cli_options import parse_arguments, whole_parser
from netserv_discovery.errors import DiscoveryError, LocalProtocolError
from netserv_discovery.keys import block_key, index_key
from netserv_discovery.policy import Reach, Where
from netserv_discovery.versions import Offer
from tests.netserv_discovery.memory_records import MemoryRecords

HERE = ("--near", "40.71,-74.01")
PATIENCE_S = 10.0


class MemoryNode(MemoryRecords):
    """As `mdht run` has it."""

    def status(self) -> None:  # nobody asks
        raise NotImplementedError


class World:
    """A directory with the socket of a node in memory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.records = directory, MemoryNode()

    def options(self, *words: str) -> argparse.Namespace:
        return parse_arguments([*words, "--mdht-state-dir", str(self.directory), "--json"])

    def path(self, name: str) -> str:
        return str(self.directory / name)


def run(directory: Path, main: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World(directory)
        with trio.fail_after(4 * PATIENCE_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_control, world.records, control_path(directory, {}))
                await main(world)
                nursery.cancel_scope.cancel()

    trio.run(whole)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_node_that_is_advertised_is_found_and_is_gone_when_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(world: World) -> None:
        words = ("--no-link", "--state-dir", world.path("node"), "--address", "127.0.0.1", "--allow-private")
        offers = ("--block", "ffmpeg=5.1", "--module", "Relay_1.0", "--location", "40.7,-74.0", "--operator", "Ex")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cli_advertise.run, world.options("advertise", *words, *offers))
            with trio.fail_after(PATIENCE_S):
                while len(world.records.values) < 15:  # noqa: ASYNC110 - it has no event for it
                    await trio.sleep(0.01)
            await trio.sleep(0.1)
            assert [line["event"] for line in lines(capsys)] == ["advertised", "stored"]
            assert await cli_find.run(world.options("find", "--block", "ffmpeg>=5", *HERE)) == 0
            (found,) = lines(capsys)
            assert (found["trust"], found["operator"], found["number"]) == ("confirmed", "Ex", 1)
            assert found["modules"] == [{"name": "Relay", "version": "1.0"}]
            assert await cli_find.run(world.options("find", "--block", "ffmpeg>=6")) == 1
            nursery.cancel_scope.cancel()
        assert world.records.values == {}
        assert await cli_find.run(world.options("find", "--block", "ffmpeg")) == 1

    run(tmp_path, scene)


def test_facts_and_policy_of_files_are_read_again_and_mistakes_change_nothing(tmp_path: Path) -> None:
    facts, policy = tmp_path / "facts.toml", tmp_path / "policy.toml"
    facts.write_text('[blocks]\nffmpeg = "5.1"\n')
    policy.write_text("[link]\nshow = false\n")
    options = parse_arguments(["advertise", "--facts", str(facts), "--policy", str(policy), "--block", "geoip=1"])
    files = cli_advertise.FactsFiles(options)
    files.read()
    assert files.facts.blocks == {"ffmpeg": "5.1"}
    assert policy_of(options).view(Where.LINK).show is None
    facts.write_text("[")
    policy.write_text("[lonk]\n")
    with pytest.raises(LocalProtocolError, match=r"facts .*facts\.toml: not facts"):
        files.read()
    with pytest.raises(LocalProtocolError, match=r"policy .*policy\.toml: .*link is meant"):
        policy_of(options)
    assert files.facts.blocks == {"ffmpeg": "5.1"}


def test_options_say_more_than_the_policy() -> None:
    options = parse_arguments(["advertise", "--sites", "office", "--no-dht", "--allow-private"])
    views = policy_of(options).views
    assert views[Where.SITES].keys == ("office",)
    assert views[Where.SITES].addresses is Reach.ALL
    assert views[Where.DHT].show is None
    assert policy_of(parse_arguments(["advertise"])).view(Where.SITES).show is None


def test_an_offer_of_the_command_line_replaces_those_of_its_name() -> None:
    file = (Offer("ffmpeg", "5.1"), Offer("ffmpeg", "6.0"), Offer("geoip", "1.0"))
    assert merged(file, [Offer("FFmpeg", "7.0")]) == (Offer("geoip", "1.0"), Offer("FFmpeg", "7.0"))


def test_a_bundle_is_published_located_and_withdrawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = SigningKey.create(tmp_path / "alice.pem", "key")
    (tmp_path / "relay.zip").write_bytes(b"bundle")

    async def scene(world: World) -> None:
        what = (world.path("relay.zip"), "--module", "Net.Relay_1.2", "--key", world.path("alice.pem"))
        where = ("--url", "https://example.org/relay.zip")
        assert await cli_index.run(world.options("publish", *what, *where)) == 0
        assert [key for key, _name in world.records.values] == [index_key("Net.Relay")]
        believed = ("--publisher", key.public_key.hex())
        capsys.readouterr()
        assert await cli_index.run(world.options("locate", "net.relay>=1", *believed)) == 0
        (found,) = lines(capsys)
        assert (found["version"], found["size"], found["urls"]) == ("1.2", 6, ["https://example.org/relay.zip"])
        with pytest.raises(LocalProtocolError, match="does not allow the host example"):
            await cli_index.run(world.options("fetch", "net.relay", *believed))
        assert await cli_index.run(world.options("locate", "net.relay>=2", *believed)) == 1
        assert await cli_index.run(world.options("locate", "net.relay", "--publisher", "00" * 32)) == 1
        assert "1 unbelieved" in capsys.readouterr().err
        assert await cli_index.run(world.options("publish", *what, *where, "--withdraw")) == 0
        assert world.records.values == {}

    run(tmp_path, scene)


def test_nobody_is_believed_unless_he_is_named(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(DiscoveryError, match="name a publisher to believe"):
            await cli_index.run(world.options("locate", "net.relay"))

    run(tmp_path, scene)


def test_what_lies_in_the_dht_and_is_no_record_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(world: World) -> None:
        await world.records.put(block_key("ffmpeg"), b"nonsense", ttl_s=60)
        assert await cli_find.run(world.options("find", "--block", "ffmpeg")) == 1
        assert "1 malformed" in capsys.readouterr().err

    run(tmp_path, scene)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["find"], 1, "say what to look for"),
        (["find", "--radius", "5"], 1, "--near LAT,LON too"),
        (["find", "--link", "--interface", "no-such-if"], 1, "no-such-if"),
        (["find", "--toward", "x", "--user", "alice"], 1, "go together"),
        (["find", "--toward", "x", "--watch"], 1, "--watch follows"),
        (["advertise", "--facts", "/no/such/file"], 1, "No such file"),
        (["publish", "/no/such/file", "--module", "a_1", "--url", "https://a.example/", "--key", "/no/key"], 1, "key"),
        (["find", "--block", "5"], 2, "say a name"),
        (["find", "--near", "91,0"], 2, "no place"),
        (["find", "--limit", "0"], 2, "not within 1..100"),
        (["find", "--link", "--toward", "x"], 2, "not allowed with"),
        (["advertise", "--block", "ffmpeg"], 2, "NAME=VERSION"),
        (["advertise", "--lease", "1"], 2, "not within 10..3600"),
        (["advertise", "--secret", "correct horse battery"], 1, "none is named: say --sites KEY"),
        (["advertise", "--sites", "a", "--secret-file", "/nowhere"], 1, "argument --secret-file: "),
        (["find", "--block", "a", "--secret", "correct horse battery"], 1, "say --sites KEY"),
        (["find", "--sites", "a", "--secret", "correct horse", "--secret-file", "x"], 1, "say the same"),
        (["find", "--sites", "a", "--secret", "x"], 2, "a secret has at least"),
        (["find", "--sites", "!"], 2, "no letter and no digit"),
        (["publish", "x", "--module", "a_1", "--url", "ftp://a/", "--key", "k"], 2, "http or https"),
        (["locate", "a", "--publisher", "zz"], 2, "64 hexadecimal digits"),
        ([], 2, "COMMAND"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.root.handlers[:]
    try:
        ended: object = main(words)
    except SystemExit as stop:
        ended = stop.code
    finally:
        logging.root.handlers[:] = handlers  # those of the command write to what is captured here
    assert ended == status
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_every_command_has_help_and_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    text = whole_parser().format_help()
    for command in ("advertise", "find", "publish", "locate", "fetch", "console"):
        assert command in text
        assert command in script
        with pytest.raises(SystemExit):
            parse_arguments([command, "--help"])
