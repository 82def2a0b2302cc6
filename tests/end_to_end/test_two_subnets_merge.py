"""Two groups of hosts that have come to a link separately become one node, with the records of both."""

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
SAID_S = 30.0
"The side that stays says so when it has heard nothing of the other one for a while."
LARGE = "x" * 6000


@dataclass(frozen=True)
class Member:
    """A host with `mdht run`; what it prints has the time."""

    host: Host
    process: Process

    def events(self, name: str) -> list[dict[str, Any]]:
        # The last line may be half written.
        return [line for line in json_lines(self.process.log.rpartition("\n")[0]) if line["event"] == name]

    @property
    def subnet(self) -> str:
        return str(self.events("settled")[-1]["subnet"])

    @property
    def ready(self) -> set[str]:
        """Hosts that it last said are ready."""
        states = {line["hid"]: line["state"] for line in self.events("member")}
        return {hid for hid, state in states.items() if state == "ready"}

    @property
    def merged(self) -> list[tuple[str, str]]:
        return [(line["gone"], line["subnet"]) for line in self.events("merged")]


def start(*hosts: Host) -> list[Member]:
    members = [Member(host, host.popen(Host.program("mdht"), "run", "--json")) for host in hosts]
    for member in members:
        wait_line(member.process, '"event":"settled"')
    return members


def test_two_links_that_are_plugged_together_are_one_subnet_with_all_records() -> None:
    with laboratory() as lab:
        west, east = lab.subnet("west"), lab.subnet("east", first=100)
        here = start(lab.host("a", west), lab.host("b", west))
        there = start(lab.host("c", east), lab.host("d", east))
        members = [*here, *there]
        started = time.monotonic()
        values = {f"key {number}": f"value {number}" for number in range(4)} | {"large": LARGE}
        for number, (key, value) in enumerate(values.items()):
            assert command(members[number % 4].host, "mdht", "put", key, value).returncode == 0
        before = [member.subnet for member in members]
        assert before == [before[0], before[0], before[2], before[2]]
        assert before[0] != before[2]
        time.sleep(max(0.0, OLD_S - (time.monotonic() - started)))
        west.plug_into(east)
        plugged = time.time()

        def logs() -> str:
            return "\n".join(member.process.log for member in members)

        def is_one() -> bool:
            return len({member.subnet for member in members}) == 1 and all(len(member.ready) == 3 for member in members)

        wait_until(is_one, MERGED_S, "one subnet", logs)
        took_s = max(line["at"] for member in members for line in member.events("settled")) - plugged
        print(f"one subnet {took_s:.1f} s after the links were plugged together")
        for number, (key, value) in enumerate(values.items()):
            assert command(members[(number + 2) % 4].host, "mdht", "get", key).stdout == f"{value}\n", logs()
        stays = members[0].subnet
        (goes,) = set(before) - {stays}
        wait_until(lambda: all(member.merged == [(goes, stays)] for member in members), SAID_S, "a word of it", logs)
        assert '"merges":1' in command(members[0].host, "mdht", "status", "--json").stdout
