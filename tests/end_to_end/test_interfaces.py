"""An importer whose host is on several links, and whose interfaces change (RFC 6762 sections 8, 8.4 and 10.2)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.end_to_end.decoded import Packet, packets_of
from tests.end_to_end.sites import LIMIT_S, MDHT_PORT, PATIENCE_S, bridge, laboratory, names
from tools.netlab import Avahi, Host, Process, Subnet, wait_until

pytestmark = pytest.mark.lab
TYPE, NAME = "_daap._tcp", "Tom's Music"
AGAIN_S = 4.0
"1 s of probing, and two announcements a second apart; the machine is shared."
SECOND_S = 0.98
"A second on the wire, less what two wake-ups of a busy machine differ by."


@dataclass(frozen=True)
class World:
    """An importing host on two links, with a looking host on each, and a program for each of them."""

    host: Host
    left: Subnet
    right: Subnet
    avahi_left: Avahi
    avahi_right: Avahi
    programs: tuple[Process, ...]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")
        left = lab.subnet("left", "203.0.113.0/24", "2001:db8:2::/64")
        right = lab.subnet("right", "192.0.2.0/24", "2001:db8:3::/64")
        a, host, on_left, on_right = (
            lab.host("a", here),
            lab.host("b", left, right),
            lab.host("l", left),
            lab.host("r", right),
        )
        lab.router("router", here, left, right)
        avahi_a, avahi_left, avahi_right = lab.start_avahi(a, on_left, on_right)
        bridge(a, "--export", TYPE, "--key", "office")
        avahi_a.publish(NAME, TYPE, 3689, ["txtvers=1"])
        entry = ("--bootstrap", f"{a.ipv4}:{MDHT_PORT}")
        programs = [
            bridge(host, "--import", "--key", "office", "--interface", name, *entry) for name in host.interfaces
        ]
        yield World(host, left, right, avahi_left, avahi_right, tuple(programs))


def announcements(packets: list[Packet], version: int, since: float) -> list[float]:
    """When the service was announced over a version of IP, or answered for."""
    return [
        one.at
        for one in packets
        if one.at > since and one.version == version and any(said.type == "SRV" for said in one.of("answer"))
    ]


def wait_back(program: Process, times: int) -> None:
    """Wait until a program has found its interface again so many times, and has announced what it shows."""
    wait_until(lambda: program.log.count("is back") >= times, PATIENCE_S, "interface", lambda: f":\n{program.log}")
    time.sleep(AGAIN_S)


def check_begun_anew(packets: list[Packet], version: int, since: float) -> None:
    """Three probes for the name, then two announcements, and no goodbye."""
    probes = [
        one.at
        for one in packets
        if one.at > since and one.version == version and any(asked.name.startswith(NAME) for asked in one.asked)
    ]
    first, second, *_ = announcements(packets, version, since)
    # More of them where the addresses of the two families came one after the other, and it began twice.
    before = [at for at in probes if at < first][-3:]
    assert len(before) == 3
    assert all(0.2 <= later - sooner <= 0.6 for sooner, later in pairwise((*before, first)))
    assert second - first >= SECOND_S
    assert not any(said.ttl_s == 0 for one in packets for said in one.said)


def test_a_host_of_two_links_shows_imports_on_both_and_each_survives_its_interface(world: World) -> None:
    left, right = (avahi.watch(TYPE) for avahi in (world.avahi_left, world.avahi_right))
    for watch in (left, right):
        watch.wait_for(names(NAME), PATIENCE_S)
    eth0, eth1 = world.host.interfaces
    time.sleep(1.5)  # the second announcement
    captures = [link.capture("udp port 5353") for link in (world.left, world.right)]

    # Another address: the host has to tell the link who it is from now on.
    began = time.time()
    new = "203.0.113.99"
    world.host.run("ip", "address", "add", f"{new}/25", "dev", eth0)  # of its own, so that it outlives the old one
    world.host.run("ip", "address", "del", str(world.host.addresses[eth0][0]), "dev", eth0)
    wait_back(world.programs[0], 1)

    # The cable is pulled and plugged in again, between two looks of the program or not.
    pulled = time.time()
    world.host.link(up=False, subnet=world.left)
    world.host.link(up=True, subnet=world.left)
    plugged = time.time()
    wait_back(world.programs[0], 2)

    # The looking host has never missed the service: its lifetime is longer than all that.
    assert not [line for line in left.process.log.splitlines() if line.startswith("-")], left.process.log
    for capture in captures:
        capture.stop()
    here, there = (
        packets_of(capture, world.host.mac(name)) for capture, name in zip(captures, (eth0, eth1), strict=True)
    )
    print("\n".join(program.log for program in world.programs))  # pytest shows it when the test fails
    check_begun_anew([one for one in here if one.at < pulled], 4, began)
    check_begun_anew([one for one in here if one.at < pulled], 6, began)
    check_begun_anew(here, 4, plugged)
    check_begun_anew(here, 6, plugged)
    rows = captures[0].rows(f"mdns && eth.src == {world.host.mac(eth0)} && ip", "frame.time_epoch", "ip.src")
    assert {source for at, source in rows if began + 1 < float(at) < pulled} == {new}
    # The other link has heard nothing of it.
    assert not announcements(there, 4, began)
    assert not any(one.is_probe for one in there)
    assert world.programs[1].log.count("interface") == 0, world.programs[1].log

    # An end takes back what was shown on that link, and on no other.
    world.programs[0].stop()
    left.wait_for(names(), LIMIT_S)
    assert names(NAME)(right.services())
    assert world.programs[1].poll() is None
