"""The scene of the tests of catching: five hosts in a row, and programs on them that are told what to send."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.sites import PATIENCE_S, json_lines
from tools.netlab import Host, Process, wait_until

PROGRAM = str(Path(__file__).with_name("catcher.py"))
QUERY = "4e04bda5012000017fc0804061626364"
"Magic number, common header with C and NSLPID 32704, a word."


def unique(number: int) -> str:
    """A Query that only one test sends."""
    return QUERY[:-8] + number.to_bytes(4).hex()


@dataclass(frozen=True)
class Talker:
    """A `catcher.py` that runs on a host."""

    process: Process

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def events(self, event: str) -> list[dict[str, Any]]:
        return [each for each in json_lines(self.process.log) if each["event"] == event]

    def wait(self, event: str, number: int = 1, **values: Any) -> list[dict[str, Any]]:
        """Wait for so many events that have these values."""

        def look() -> list[dict[str, Any]]:
            found = [each for each in self.events(event) if values.items() <= each.items()]
            return found if len(found) >= number else []

        return wait_until(look, PATIENCE_S, f"{number} times {event} {values}", lambda: f":\n{self.process.log}")


def start(host: Host, *arguments: str, talks: bool = False) -> Talker:
    process = host.popen(sys.executable, PROGRAM, *arguments, stdin=subprocess.PIPE if talks else None)
    process.wait_for('"ready"')
    return Talker(process)


@dataclass(frozen=True)
class Path5:
    """The hosts of the path; sender and receiver talk for all tests."""

    sender_host: Host
    node: Host
    other: Host
    "The plain router behind the node."
    receiver_host: Host
    sender: Talker
    receiver: Talker

    def query(self, payload: str = QUERY, destination: str | None = None, **values: Any) -> None:
        order = {"ip_ttl": 44, "dscp": 0, "router_alert": False, **values}
        self.sender.tell(do="flow", payload=payload, destination=destination or self.receiver_host.ipv4, **order)

    def rules(self) -> str:
        """All that the node's kernel has of us."""
        words = [
            self.node.run(program, "-t", "mangle", "-S").stdout.partition("POSTROUTING ACCEPT\n")[2]
            for program in ("iptables", "ip6tables")
        ]
        for version in ("-4", "-6"):
            words += [line for line in self.node.run("ip", version, "rule").stdout.splitlines() if "270" in line]
            words.append(self.node.run("ip", version, "route", "show", "table", "270", check=False).stdout)
        return "".join(words)
