"""Membership over real multicast: hosts of a bridge find each other, and notice who is gone."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdht.link_config import GROUP_PORT, group4
from mdht.subnet.messages import Bye, Message, Ping
from mdht.subnet.wire import Header, LinkCodec
from tests.end_to_end.members import DETECTION_S, SLACK_S, Member, join, wait_ready, wait_state
from tests.end_to_end.sites import PATIENCE_S, TRACEBACK, command, json_lines, laboratory
from tools.netlab import Host, wait_until

pytestmark = pytest.mark.lab
LOSSY_MEMBER = Path(__file__).with_name("link_member.py")
FOREIGN_SOURCE = Path(__file__).with_name("foreign_source.py")
HOSTS = 5
SEEN_S = 2.0
"From the start of the last host until all see all ready."
LOSS = 0.2
LOSSY_S = 60.0


@dataclass(frozen=True)
class World:
    """Five hosts of one link and five of another with a bad one, a router between them, and when the latter started."""

    hosts: list[Host]
    both: Host
    "On their link, and on one where `lone` is the only other host."
    lone: Host
    far: list[Host]
    lossy: list[Member]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here, there = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64"), lab.subnet("there", "203.0.113.0/24")
        hosts = [lab.host(f"h{number}", here) for number in range(HOSTS)]
        far = [lab.host(f"f{number}", there) for number in range(HOSTS)]
        aside = lab.subnet("aside", "192.0.2.0/24")
        both, lone = lab.host("both", here, aside), lab.host("lone", aside)
        lab.router("router", here, there)
        words = [sys.executable, str(LOSSY_MEMBER), str(LOSS)]
        # They run beside the other tests, and are looked at in the last one.
        lossy = [
            Member(host, host.popen(*words, str(seed), "--json", env={"PYTHONPATH": str(Path.cwd())}))
            for seed, host in enumerate(far)
        ]
        yield World(hosts, both, lone, far, lossy)


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    """Let each host have a new name: tombstones of an earlier test are not for this one."""
    for host in (*world.hosts, world.both, world.lone):
        shutil.rmtree(host.directory / "state" / "mdht", ignore_errors=True)


@pytest.fixture
def five(world: World) -> list[Member]:
    members = join(*world.hosts)
    wait_ready(members)
    return members


def test_hosts_of_a_link_come_to_one_subnet(five: list[Member]) -> None:
    wait_until(lambda: all(member.subnets for member in five), PATIENCE_S, "subnet of each host")
    assert len({member.subnets[-1] for member in five}) == 1
    late, *others = five
    late.process.stop()
    (late,) = join(late.host)
    wait_state(others, late.hid, "ready")
    wait_until(lambda: late.subnets == others[0].subnets[-1:], PATIENCE_S, "the subnet that is there")


def test_hosts_of_a_link_see_each_other(five: list[Member]) -> None:
    started = max(member.event("joins")["at"] for member in five)
    seen = max(member.saw(other.hid, "ready") for member in five for other in five if other is not member)
    print(f"all see all {seen - started:.3f} s after the last one started")
    assert seen - started <= SEEN_S


def test_a_crash_is_noticed_in_time_and_the_next_start_is_seen(five: list[Member]) -> None:
    *others, victim = five
    killed = time.time()
    victim.process.kill()
    noticed = wait_state(others, victim.hid, "dead")
    print(f"all have noticed after {noticed - killed:.3f} s")
    assert noticed - killed <= DETECTION_S + SLACK_S
    (again,) = join(victim.host)
    assert again.hid == victim.hid
    assert again.event("joins")["incarnation"] == 2
    wait_ready([*others, again])


def test_a_clean_stop_is_seen_at_once(five: list[Member]) -> None:
    *others, leaver = five
    stopped = time.time()
    assert leaver.process.stop() == 0
    left = wait_state(others, leaver.hid, "left")
    print(f"seen after {left - stopped:.3f} s")
    assert left - stopped <= SLACK_S


def test_an_observer_sees_all_and_is_seen_by_none(five: list[Member], world: World) -> None:
    started = time.monotonic()
    found = json_lines(command(world.hosts[0], "mdht", "members", "--json").stdout)
    print(f"all five after {time.monotonic() - started:.2f} s, start of the program included")
    assert {line["hid"] for line in found} == {member.hid for member in five}
    assert {line["state"] for line in found} == {"ready"}
    watch = world.hosts[1].popen(Host.program("mdht"), "members", "--watch")
    watch.wait_for(five[4].hid)
    five[4].process.stop()
    wait_until(lambda: f"{five[4].hid}  left" in watch.log, PATIENCE_S, "word of the one who left")
    assert watch.stop() == 0
    for member in five:
        assert set(member.states) == {other.hid for other in five} - {member.hid}
        assert "suspect" not in member.states.values()


def test_where_nobody_is_a_member_that_is_one_line(world: World) -> None:
    done = command(world.hosts[0], "mdht", "members")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mdht: no member of z2z answers on eth0; start one (mdht run), or name another link with --interface\n"
    )


def test_a_host_with_another_key_is_not_seen_but_counted(world: World) -> None:
    right, wrong, none = [
        join(host, arguments=arguments)[0]
        for host, arguments in zip(
            world.hosts, (key(world.hosts[0], "correct horse"), key(world.hosts[1], "battery staple"), ()), strict=False
        )
    ]
    # While the passphrase is changed, some hosts send with the former one and some with the new one, and know both.
    former, new = [
        join(host, arguments=key(host, text))[0]
        for host, text in zip(
            world.hosts[3:], ("correct horse\nbattery staple", "battery staple\ncorrect horse"), strict=True
        )
    ]
    wanted = {right: {former}, wrong: {new}, former: {right, new}, new: {wrong, former}}
    # Their subnets merge meanwhile: who moves to the other one is gone from the first for a moment.
    for member, others in wanted.items():
        states = {each.hid: "ready" for each in others}
        wait_until(lambda member=member, states=states: member.states == states, PATIENCE_S, "view by its key")
    assert none.states == {}
    look = command(none.host, "mdht", "members", *key(none.host, "correct horse"))
    assert {line.split()[0] for line in look.stdout.splitlines()[1:]} == {right.hid, former.hid}
    look = command(none.host, "mdht", "members", *key(none.host, "a third one"))
    assert look.returncode == 1
    assert "another key (--key-file)" in look.stderr
    assert all(member.counters()["refused"] > 0 for member in (right, wrong, none))


def key(host: Host, text: str) -> tuple[str, str]:
    """The arguments that give a member a passphrase."""
    path = host.directory / "key"
    path.write_text(text)
    path.chmod(0o600)
    return "--key-file", str(path)


def test_what_comes_from_another_link_is_dropped(world: World) -> None:
    members = join(*world.hosts[:2])
    wait_ready(members)
    victim, target = members
    host, _, port = target.event("joins")["addresses"][0].rpartition(":")
    # As the victim itself would say: a goodbye to all, and a sign of life to one.
    header = Header(subnet_tag=bytes(8), hid=bytes.fromhex(victim.hid), incarnation=9, seq=1)
    near, far = world.hosts[4], world.far[0]
    near.run("ip", "address", "add", "10.9.9.9/32", "dev", "eth0")
    send(near, "10.9.9.9", group4("z2z"), GROUP_PORT, header, Bye(handed_over=True))
    send(far, far.ipv4, host, int(port), header, Ping(nonce=bytes(8)))
    time.sleep(0.5)
    assert target.states == {victim.hid: "ready"}
    assert target.counters()["off_link"] == 2
    assert victim.counters()["off_link"] == 1


def send(host: Host, source: str, to: str, port: int, header: Header, message: Message) -> None:
    data = LinkCodec("z2z").encode(header, message).hex()
    host.run(sys.executable, str(FOREIGN_SOURCE), "eth0", source, to, str(port), stdin=data)


def test_a_host_of_two_links_hears_each_where_it_belongs(world: World) -> None:
    here = join(*world.hosts)
    (lone,) = join(world.lone)
    (both,) = join(world.both, arguments=["--interface", "eth0", "--interface", "eth1"])
    names = {line["link"]: line["hid"] for line in both.lines if line["event"] == "joins"}
    everybody = {member.hid: "ready" for member in (*here, lone)}
    wait_until(lambda: both.states == everybody, PATIENCE_S, "view of both links", lambda: both.process.log)
    wait_state(here, names["eth0"], "ready")
    wait_state([lone], names["eth1"], "ready")
    assert set(lone.states) == {names["eth1"]}, "nothing is passed on between links"
    assert names["eth1"] not in here[0].states
    assert both.process.stop() == 0
    counted = [line["counters"] for line in both.lines if line["event"] == "ended"]
    assert len(counted) == 2
    assert all("off_link" not in each for each in counted), "datagrams came to the socket of the other interface"


def test_an_interface_that_goes_down_and_up_is_followed(world: World) -> None:
    members = join(*world.hosts[:3])
    wait_ready(members)
    *others, cut = members
    cut.host.link(up=False)
    wait_state(others, cut.hid, "dead")
    cut.host.link(up=True)
    up = time.time()
    back = wait_state(others, cut.hid, "ready")
    print(f"back after {back - up:.3f} s")
    assert "interface eth0 is down" in cut.process.log
    wait_ready(members)


def test_with_a_fifth_of_multicasts_lost_nobody_is_taken_for_dead(world: World) -> None:
    wait_ready(world.lossy)
    started = max(member.event("settled")["at"] for member in world.lossy)
    time.sleep(max(0.0, started + LOSSY_S - time.time()))
    said = [line["state"] for member in world.lossy for line in member.lines if line["event"] == "member"]
    print(f"suspected {said.count('suspect')} times in {HOSTS} x {time.time() - started:.0f} s")
    assert "dead" not in said
    assert "left" not in said
    for member in world.lossy:
        counters = member.counters()
        assert counters["lost_on_purpose"] > 20, "of some 240 heartbeats; the exact share is a unit test's"
        assert TRACEBACK not in member.process.log
