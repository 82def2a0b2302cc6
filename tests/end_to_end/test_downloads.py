"""Where a publisher can lead a node's downloads, on real networks: to public hosts, and nowhere else (abuse case 20).

web, on public addresses - node - printer, on private ones
"""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.sites import json_lines, laboratory
from tools.netlab import Host, Process

pytestmark = pytest.mark.lab
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TRIES = 4


@dataclass(frozen=True)
class World:
    """Each host has a web server; the names of web's name server have another address each time."""

    web: Host
    node: Host
    printer: Host
    servers: dict[str, Process]

    def fetched(self, *urls: str) -> list[tuple[int, str]]:
        """Codes and texts of downloads on the node."""
        own = ",".join(str(each.ip) for addresses in self.node.addresses.values() for each in addresses)
        resolv = self.node.directory / "resolv.conf"
        resolv.write_text(f"nameserver {self.web.ipv4}\n")
        words = [sys.executable, str(HERE / "downloader.py"), own, *urls]
        script = (
            f"mount --bind {shlex.quote(str(resolv))} /etc/resolv.conf && cd {shlex.quote(str(ROOT))} && "
            f"PYTHONPATH=. exec {shlex.join(words)}"
        )
        done = self.node.run("sh", "-c", script)  # a program of a namespace has mounts of its own
        return [(one["code"], one["text"]) for one in json_lines(done.stdout)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        # Not of a documentation range, which is no public one.
        street, home = lab.subnet("street", "11.0.3.0/24", "2a00:1450:77::/64"), lab.subnet("home", "192.168.1.0/24")
        web, printer = lab.host("web", street), lab.host("printer", home)
        node = lab.router("node", street, home)
        servers = {}
        for host in (web, node, printer):
            servers[host.name] = host.popen(sys.executable, str(HERE / "told_server.py"), "8080", host.name)
            servers[host.name].wait_for("serving")
        names = [
            f"web.example.org={web.ipv4}",
            f"printer.example.org={printer.ipv4}",
            f"node.example.org={node.ipv4}",
            f"turns.example.org={web.ipv4},{printer.ipv4}",
            f"home.example.org={web.ipv4},{node.ipv4}",
        ]
        web.popen(sys.executable, str(HERE / "turning_names.py"), web.ipv4, *names).wait_for("serving")
        yield World(web, node, printer, servers)


def test_a_public_host_is_reached_by_name_and_address(world: World) -> None:
    urls = ["http://web.example.org:8080/", f"http://{world.web.ipv4}:8080/", f"http://[{world.web.ipv6}]:8080/again"]
    assert world.fetched(*urls) == [(200, "web")] * 3


def test_private_hosts_and_the_node_itself_are_not(world: World) -> None:
    found = world.fetched(
        *(f"http://{host}:8080/" for host in (world.printer.ipv4, world.node.ipv4, f"[{world.node.ipv6}]")),
        "http://printer.example.org:8080/",
        "http://node.example.org:8080/",
        "http://localhost:8080/",
        "http://169.254.169.254/latest/meta-data/",
        f"http://[::ffff:{world.printer.ipv4}]:8080/",
    )
    assert [code for code, _ in found] == [403] * 8
    assert untouched(world)


def test_a_name_that_turns_leads_only_where_it_was_judged(world: World) -> None:
    """Whatever the name server says first, one that was judged is connected to, and no other."""
    found = world.fetched(*["http://turns.example.org:8080/"] * TRIES, *["http://home.example.org:8080/"] * TRIES)
    assert sorted(found[:TRIES])[: TRIES // 2] == [(200, "web")] * (TRIES // 2)
    assert [code for code, _ in sorted(found)] == [200] * TRIES + [403] * TRIES
    assert untouched(world)


def test_a_redirect_is_judged_anew(world: World) -> None:
    """The name leads to web, which leads to the same name, which by then leads to the printer."""
    ((code, text),) = world.fetched("http://turns.example.org:8080/again")
    assert code == 403
    assert f"{world.printer.ipv4} is no public address" in text
    assert "asked for /again" in world.servers["web"].log
    assert untouched(world)


def untouched(world: World) -> bool:
    return "asked for" not in world.servers["printer"].log + world.servers["node"].log
