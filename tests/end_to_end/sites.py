"""What the end-to-end tests share: laboratories under watch, and the programs of this distribution on their hosts."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any, Final

import msgspec
import trio

from tools.live_records import client
from tools.netlab import Avahi, BrowsedService, Host, Lab, Process, wait_until

LIMIT_S: Final = 3.0
"Publish to visible, and withdraw to gone."
PATIENCE_S: Final = 12.0
"Longest wait for what has no promised time: four times the promised one, as these machines are shared."
MDHT_PORT: Final = 27_183
TRACEBACK: Final = "Traceback (most recent call last)"
OPEN_LABS: Final[list[Lab]] = []
"Laboratories whose logs are looked through after each test."
SAID: Final[list[str]] = []
"What short-lived commands of the current test have printed."


@contextmanager
def laboratory() -> Iterator[Lab]:
    """Open a laboratory whose programs must never print a traceback."""
    with Lab() as lab:
        OPEN_LABS.append(lab)
        try:
            yield lab
        finally:
            OPEN_LABS.remove(lab)


@dataclass(frozen=True)
class TwoSites:
    """Host a of one subnet, host b of another, Avahi on both, a router between them, IPv4 and IPv6."""

    lab: Lab
    a: Host
    b: Host
    router: Host
    avahi_a: Avahi
    avahi_b: Avahi

    @property
    def entry(self) -> str:
        """The DHT node of the first `z2z` on a, as b names it."""
        return f"{self.a.ipv4}:{MDHT_PORT}"


@contextmanager
def two_sites() -> Iterator[TwoSites]:
    """Build the scene of most tests."""
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")
        there = lab.subnet("there", "203.0.113.0/24", "2001:db8:2::/64")
        a, b = lab.host("a", here), lab.host("b", there)
        router = lab.router("router", here, there)
        avahi_a, avahi_b = lab.start_avahi(a, b)
        yield TwoSites(lab, a, b, router, avahi_a, avahi_b)


def command(host: Host, program: str, *arguments: str, stdin: str = "", timeout: float = 30) -> CompletedProcess[str]:
    """Run `z2z` or `mdht` on a host to its end."""
    done = host.run(Host.program(program), *arguments, check=False, stdin=stdin, timeout=timeout)
    SAID.append(f"$ {program} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done


def mdht_status(host: Host) -> dict[str, Any]:
    """What the host's node says of itself, as `mdht status --json` prints it; asked often, so without that command."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(trio.run(client(host).status)))
    return found


def run_mdht(host: Host, *arguments: str, wait: bool = True) -> Process:
    """Start `mdht run` on a host and wait, if wanted, until it says who it is."""
    process = host.popen(Host.program("mdht"), "run", "-v", *arguments)
    if wait:
        process.wait_for("host ")
    return process


def sockets(host: Host, port: int) -> int:
    """Count the UDP sockets of a host that are bound to a port (proc(5), `net/udp`: local address and port in hex)."""
    tables = host.run("cat", "/proc/net/udp", "/proc/net/udp6").stdout
    return sum(line.split()[1].endswith(f":{port:04X}") for line in tables.splitlines() if ":" in line)


def alive(process: Process) -> bool:
    """Say whether it runs; ending early is an error that shows its words."""
    assert process.poll() is None, f"ended with status {process.returncode}:\n{process.log}"
    return True


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects among the lines of a log, which has lines for people too."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def instances(services: list[BrowsedService]) -> set[str]:
    """Return the instance names that a browser shows."""
    return {service.instance for service in services}


def resolved(services: list[BrowsedService]) -> set[str]:
    """Return the instance names behind which a browser has found host and port."""
    return instances([service for service in services if service.host])


def names(*wanted: str) -> Callable[[list[BrowsedService]], bool]:
    """Return the condition that a browser shows these instances, resolved, and no others."""
    return lambda services: instances(services) == resolved(services) == set(wanted)


def shows(name: str) -> Callable[[list[BrowsedService]], bool]:
    """Return the condition that a browser shows this instance, resolved, perhaps among others."""
    return lambda services: name in resolved(services)


def lacks(name: str) -> Callable[[list[BrowsedService]], bool]:
    """Return the condition that a browser does not show this instance."""
    return lambda services: name not in instances(services)


def holds(condition: Callable[[], object], duration_s: float, explain: Callable[[], str]) -> None:
    """Check that a condition is true now and stays true."""
    end = time.monotonic() + duration_s

    def look() -> bool:
        assert condition(), explain()
        return time.monotonic() >= end

    wait_until(look, duration_s + PATIENCE_S, "end of the watch")


def wait_line(process: Process, *words: str, timeout_s: float = PATIENCE_S) -> str:
    """Wait for a line of a program's log that has all these words, and return it."""

    def look() -> str:
        log = process.log
        found = next((line for line in log.splitlines() if all(word in line for word in words)), "")
        return found or (alive(process) and "") or ""

    return wait_until(look, timeout_s, f"line with {words}", lambda: f":\n{process.log}")


def bridge(host: Host, *arguments: str) -> Process:
    """Start `z2z` on a host and wait until it says what it does."""
    process = host.z2z(*arguments)
    wait_line(process, "(site ")
    return process
