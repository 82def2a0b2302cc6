"""Hosts that sign: who knows the shared key of a link makes nobody leave, and who does not sign is told so."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdht.link_config import GROUP_PORT, group4
from mdht.link_keys import derive_key
from mdht.signing import SigningKey
from mdht.subnet.messages import Bye, Message, Suspect
from mdht.subnet.wire import Header, LinkCodec
from tests.end_to_end.members import Member, join, wait_ready, wait_state
from tests.end_to_end.sites import PATIENCE_S, TRACEBACK, command, laboratory
from tools.netlab import Host, wait_until

pytestmark = pytest.mark.lab
FOREIGN_SOURCE = Path(__file__).with_name("foreign_source.py")
PHRASE = "correct horse"
KEYS = (derive_key(PHRASE.encode(), "z2z"),)
FAR_AHEAD = 1_000_000
"A number that the victim will not have used."
ALL_OR_NONE = "all hosts of the link with --host-keys, or all without"
HEARD_S = 2.5
"In which a live host, silenced, would be looked for, and in which a lie has gone around."


@dataclass(frozen=True)
class World:
    """Three hosts of one link, and an enemy who knows its shared key."""

    hosts: list[Host]
    enemy: Host


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24")
        yield World([lab.host(f"h{number}", here) for number in range(3)], lab.host("enemy", here))


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    """Let no host remember the subnet of an earlier test."""
    for host in world.hosts:
        shutil.rmtree(host.directory / "state" / "mdht", ignore_errors=True)


def start(world: World, *arguments: str) -> list[Member]:
    members = join(*world.hosts, arguments=[*key(world), *arguments])
    wait_ready(members)
    return members


def key(world: World) -> tuple[str, str]:
    path = world.enemy.directory / "key"
    path.write_text(PHRASE)
    path.chmod(0o600)
    return "--key-file", str(path)


def forge(world: World, victim: Member, message: Message, *, signer: SigningKey | None = None, more: int = 0) -> None:
    """Let the enemy tell all something in the victim's name."""
    joins = victim.event("joins")
    header = Header(
        subnet_tag=bytes.fromhex(victim.subnets[-1]),
        hid=bytes.fromhex(victim.hid),
        incarnation=joins["incarnation"] + more,
        seq=FAR_AHEAD,
        to_all=True,
    )
    data = LinkCodec("z2z", KEYS, signer).encode(header, message).hex()
    to = (group4("z2z"), str(GROUP_PORT))
    world.enemy.run(sys.executable, str(FOREIGN_SOURCE), "eth0", world.enemy.ipv4, *to, stdin=data)


def test_without_host_keys_who_knows_the_shared_key_makes_another_one_leave(world: World) -> None:
    victim, *others = start(world)
    forge(world, victim, Bye(handed_over=True))
    wait_state(others, victim.hid, "left")


def test_with_host_keys_nobody_says_goodbye_or_is_accused_in_the_name_of_another(world: World) -> None:
    victim, *others = start(world, "--host-keys")
    forge(world, victim, Bye(handed_over=True))
    forge(world, victim, Bye(handed_over=True), signer=SigningKey.generate())
    forge(world, victim, Bye(handed_over=True), more=9)  # if it began a start of the victim, that would be silent now
    accused = Suspect(target=bytes.fromhex(victim.hid), incarnation=1, silent_ds=30)
    for other in others:
        forge(world, other, accused)
    time.sleep(HEARD_S)
    for member in others:
        assert member.states == {other.hid: "ready" for other in (victim, *others) if other is not member}
        said = [line["state"] for line in member.lines if line["event"] == "member"]
        assert set(said) <= {"joining", "ready"}
    look = command(world.enemy, "mdht", "members", *key(world), "--host-keys")
    assert {line.split()[0] for line in look.stdout.splitlines()[1:]} == {victim.hid, *[one.hid for one in others]}
    stopped = time.time()
    assert victim.process.stop() == 0
    assert wait_state(others, victim.hid, "left") - stopped < 1.0, "its own goodbye is believed"
    for member in others:
        log = member.process.log
        assert log.count(f"at {world.enemy.ipv4} ") == 1, "one line for one source"
        counted = member.counters()
        assert counted["unsigned"] >= 3
        assert counted["forged"] == 1
        assert TRACEBACK not in log


def test_hosts_of_both_settings_are_two_subnets_and_say_which_option_is_missing(world: World) -> None:
    first, second = world.hosts[:2]
    (signing,), (other,) = join(first, arguments=[*key(world), "--host-keys"]), join(second, arguments=key(world))
    for member in (signing, other):
        wait_until(lambda: ALL_OR_NONE in member.process.log, PATIENCE_S, "complaint")  # noqa: B023
        wait_until(lambda: member.subnets, PATIENCE_S, "a subnet of its own")  # noqa: B023
    assert signing.subnets[-1] != other.subnets[-1]
    assert "does not sign what it says" in signing.process.log
    assert "signs what it says, and this host does not" in other.process.log
    look = command(world.enemy, "mdht", "members", *key(world))
    assert {line.split()[0] for line in look.stdout.splitlines()[1:]} == {other.hid}
    assert (signing.states, other.states) == ({}, {})
    for member in (signing, other):
        assert member.process.log.count(ALL_OR_NONE) == 1
    assert signing.counters()["unsigned"] > 0
    assert other.counters()["signed"] > 0
