"""Two groups of hosts that have come to a link separately become one node, with the records of both."""

import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.end_to_end.sites import command, json_lines, laboratory, wait_line
from tools.netlab import Host, Process, wait_until

pytestmark = pytest.mark.lab
OLD_S = 32.0
"A subnet that was founded within the last thirty seconds gives way at once; it is another matter."
MERGED_S = 60.0
LARGE = "x" * 6000


@dataclass(frozen=True)
class Member:
    """A host with `mdht run`."""

    host: Host
    process: Process

    def status(self) -> dict[str, Any]:
        return dict(json.loads(command(self.host, "mdht", "status", "--json").stdout))

    def put(self, key: str, value: str) -> None:
        done = command(self.host, "mdht", "put", key, value)
        assert done.returncode == 0, done.stderr

    def get(self, key: str) -> str:
        return command(self.host, "mdht", "get", key).stdout.strip()

    @property
    def merged(self) -> list[tuple[str, str]]:
        return [(line["gone"], line["subnet"]) for line in json_lines(self.process.log) if line["event"] == "merged"]


def start(*hosts: Host) -> list[Member]:
    members = [Member(host, host.popen(Host.program("mdht"), "run", "--json")) for host in hosts]
    for member in members:
        wait_line(member.process, '"event":"settled"')
    return members


def subnets(members: list[Member]) -> list[str]:
    return [member.status()["subnet"] for member in members]


def test_two_links_that_are_plugged_together_are_one_subnet_with_all_records() -> None:
    with laboratory() as lab:
        west, east = lab.subnet("west"), lab.subnet("east", first=100)
        here = start(lab.host("a", west), lab.host("b", west))
        there = start(lab.host("c", east), lab.host("d", east))
        members = [*here, *there]
        started = time.monotonic()
        values = {f"key {number}": f"value {number}" for number in range(6)} | {"large": LARGE}
        for number, (key, value) in enumerate(values.items()):
            members[number % 4].put(key, value)
        before = subnets(members)
        assert before == [before[0], before[0], before[2], before[2]]
        assert before[0] != before[2]
        time.sleep(max(0.0, OLD_S - (time.monotonic() - started)))
        west.plug_into(east)
        plugged = time.monotonic()

        def is_one() -> bool:
            states = [member.status() for member in members]
            together = all(state["phase"] == "joined" and len(state["members"]) == 3 for state in states)
            return together and len({state["subnet"] for state in states}) == 1

        wait_until(is_one, MERGED_S, "one subnet", lambda: "\n".join(member.process.log for member in members))
        print(f"one subnet {time.monotonic() - plugged:.1f} s after the links were plugged together")
        for number, (key, value) in enumerate(values.items()):
            for reader in (members[number % 4], members[(number + 2) % 4]):
                assert reader.get(key) == value, reader.process.log
        stays = subnets(members)[0]
        (goes,) = set(before) - {stays}
        for member in members:
            wait_line(member.process, '"event":"merged"')
            assert member.merged == [(goes, stays)]
            assert member.status()["merges"] == 1
            assert member.process.stop() == 0
