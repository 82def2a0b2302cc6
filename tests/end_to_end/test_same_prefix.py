"""Two links behind different routers have one IPv6 prefix: by that both subnets would be one node of the overlay."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.end_to_end.sites import MDHT_PORT, PATIENCE_S, command, json_lines, laboratory, wait_line
from tools.netlab import Host, Process, Subnet, wait_until

pytestmark = pytest.mark.lab
PREFIX = "fd00:1::/64"
SETTLED_S = 60.0
"An entry point that was not reached is asked again after 5, 10 and 20 s."


@dataclass(frozen=True)
class World:
    """Hosts of two links of one prefix, and one between them that both know."""

    left: Host
    right: Host
    middle: Host
    right_router: Host
    east: Subnet
    "Of the right one."

    @property
    def entry(self) -> str:
        return f"{self.middle.ipv4}:{MDHT_PORT}"


@pytest.fixture
def world() -> Iterator[World]:
    with laboratory() as lab:
        west, east = lab.subnet("west", "198.51.100.0/24", PREFIX), lab.subnet("east", "203.0.113.0/24", PREFIX)
        between = lab.subnet("between", "192.0.2.0/24")
        left, right, middle = lab.host("left", west), lab.host("right", east), lab.host("middle", between)
        left_router, right_router = lab.router("left-router", west, between), lab.router("right-router", east, between)
        for router, network, other in ((left_router, east, right_router), (right_router, west, left_router)):
            router.run("ip", "route", "add", str(network.networks[0]), "via", str(other.addresses["eth1"][0].ip))
        yield World(left, right, middle, right_router, east)


def start(host: Host, *arguments: str) -> Process:
    process = host.popen(Host.program("mdht"), "run", "--json", *arguments)
    wait_line(process, '"event":"settled"')
    return process


def settled(process: Process) -> list[dict[str, Any]]:
    """The subnets that a host was in, one after the other."""
    return [line for line in json_lines(process.log) if line["event"] == "settled"]


def contacts(host: Host) -> int:
    return int(json.loads(command(host, "mdht", "status", "--json").stdout)["contacts"])


def wait_for_three(world: World, *processes: Process) -> None:
    """Until each of three nodes knows the two others."""
    hosts = (world.left, world.middle, world.right)

    def logs() -> str:
        return "\n".join(process.log for process in processes)

    wait_until(lambda: [contacts(host) for host in hosts] == [2, 2, 2], SETTLED_S, "three nodes", logs)


def check_records(world: World) -> None:
    for number, host in enumerate((world.left, world.right, world.middle)):
        assert command(host, "mdht", "put", f"key {number}", f"value {number}").returncode == 0
    for host in (world.left, world.right, world.middle):
        assert [command(host, "mdht", "get", f"key {number}").stdout for number in range(3)] == [
            f"value {number}\n" for number in range(3)
        ]


def test_the_subnet_that_comes_later_takes_another_identifier(world: World) -> None:
    middle = start(world.middle)
    left = start(world.left, "--bootstrap", world.entry)
    wait_until(lambda: contacts(world.left) == 1, PATIENCE_S, "two nodes", lambda: left.log)
    right = start(world.right, "--bootstrap", world.entry)
    wait_for_three(world, left, middle, right)
    (first,) = settled(left)
    before, after = settled(right)
    assert (first["identity"], first["salted"]) == ("prefix_6", False)
    assert (before["identity"], before["node"]) == ("prefix_6", first["node"])
    assert after["salted"]
    assert after["node"] != first["node"]
    check_records(world)


def test_an_older_subnet_that_is_reached_later_keeps_its_identifier(world: World) -> None:
    world.right_router.link(up=False, subnet=world.east)
    right = start(world.right, "--bootstrap", world.entry)
    wait_line(right, '"stage":"in"')  # a ring of its own
    middle = start(world.middle)
    left = start(world.left, "--bootstrap", world.entry)
    wait_until(lambda: contacts(world.left) == 1, PATIENCE_S, "two nodes", lambda: left.log)
    world.right_router.link(up=True, subnet=world.east)
    wait_until(lambda: settled(left)[-1]["salted"], SETTLED_S, "another identifier", lambda: left.log + right.log)
    wait_for_three(world, left, middle, right)
    before, after = settled(left)
    (kept,) = settled(right)
    assert before["node"] == kept["node"] != after["node"]
    assert not kept["salted"]
    check_records(world)
