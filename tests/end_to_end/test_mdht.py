import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.sites import (
    LIMIT_S,
    MDHT_PORT,
    PATIENCE_S,
    command,
    json_lines,
    laboratory,
    wait_line,
)
from tools.netlab import Host, Process, wait_until

pytestmark = pytest.mark.lab
NAME_SERVER = Path(__file__).with_name("name_server.py")


@dataclass(frozen=True)
class World:
    """Hosts a and b of one subnet, c of another, and a router between them; no Avahi, as nodes need none."""

    a: Host
    b: Host
    c: Host
    router: Host


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        here = lab.subnet("here", "198.51.100.0/24", "2001:db8:1::/64")
        there = lab.subnet("there", "203.0.113.0/24", "2001:db8:2::/64")
        a, b, c = lab.host("a", here), lab.host("b", here), lab.host("c", there)
        yield World(a, b, c, lab.router("router", here, there))


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    """Let no node remember the dead neighbours of an earlier test."""
    for host in (world.a, world.b, world.c):
        shutil.rmtree(host.directory / "state" / "mdht", ignore_errors=True)


def node(host: Host, *arguments: str) -> Process:
    """Run a node and wait until it takes part."""
    process = host.popen(Host.program("mdht"), "run", "-v", "--json", *arguments)
    process.wait_for('"event":"joins"')
    return process


def contacts(host: Host) -> int:
    return int(json_lines(command(host, "mdht", "status", "--json").stdout)[0]["contacts"])


def wait_contacts(host: Host, number: int) -> None:
    wait_until(lambda: contacts(host) == number, PATIENCE_S, f"{number} contacts")


def test_peers_on_one_link_find_one_another_with_no_argument(world: World) -> None:
    first, second = node(world.a), node(world.b)
    started = time.monotonic()
    for process, other in ((first, world.b), (second, world.a)):
        wait_line(process, '"state":"ready"', other.ipv4)
    print(f"found after {time.monotonic() - started:.2f} s")
    assert time.monotonic() - started < LIMIT_S
    assert command(world.a, "mdht", "put", "link", "by multicast").stdout.startswith("stored at 1 node"), "the subnet"
    assert command(world.b, "mdht", "get", "link").stdout == "by multicast\n"
    second.stop()
    started = time.monotonic()
    wait_line(first, '"state":"left"', world.b.ipv4)
    print(f"lost after {time.monotonic() - started:.2f} s")


def test_far_peers_meet_by_a_host_and_port(world: World) -> None:
    node(world.a)
    node(world.c, "--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    wait_contacts(world.a, 1)
    assert command(world.c, "mdht", "put", "far", "away").returncode == 0
    assert command(world.a, "mdht", "get", "far").stdout == "away\n"


def test_far_peers_meet_over_ipv6(world: World) -> None:
    node(world.a)
    node(world.c, "--bootstrap", f"[{world.a.ipv6}]:{MDHT_PORT}")
    wait_contacts(world.a, 1)
    assert command(world.a, "mdht", "put", "six", "over IPv6").returncode == 0
    assert command(world.c, "mdht", "get", "six").stdout == "over IPv6\n"


def test_far_peers_meet_by_the_srv_records_of_a_domain(world: World) -> None:
    zone = world.router.directory / "zone"
    zone.write_text(
        "@ 60 IN NS ns\nns 60 IN A 203.0.113.1\n"
        f"_mdht._udp 60 IN SRV 10 5 {MDHT_PORT} down\n_mdht._udp 60 IN SRV 20 5 {MDHT_PORT} entry\n"
        f"down 60 IN A 198.51.100.99\nentry 60 IN A {world.a.ipv4}\nentry 60 IN AAAA {world.a.ipv6}\n"
    )
    server = world.router.popen(sys.executable, str(NAME_SERVER), "203.0.113.1", str(zone))
    server.wait_for("serving")
    resolv = world.c.directory / "resolv.conf"
    resolv.write_text("nameserver 203.0.113.1\noptions timeout:1\n")
    node(world.a)
    words = [Host.program("mdht"), "run", "--json", "--bootstrap", "example.org"]
    script = f"mount --bind {shlex.quote(str(resolv))} /etc/resolv.conf && exec {shlex.join(words)}"
    process = world.c.popen("sh", "-c", script)  # `ip netns exec` gives each program mounts of its own
    process.wait_for('"event":"joins"')
    wait_contacts(world.a, 1)
    assert command(world.a, "mdht", "put", "domain", "by SRV").returncode == 0
    assert command(world.c, "mdht", "get", "domain").stdout == "by SRV\n"
    assert process.stop() == 0


def test_a_listener_hears_a_put_a_change_and_a_removal_within_a_second(world: World) -> None:
    node(world.a)
    node(world.c, "--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    wait_contacts(world.c, 1)
    command(world.a, "mdht", "put", "news", "zero", "--name", "sign of life")
    listener = world.c.popen(Host.program("mdht"), "listen", "news")
    listener.wait_for("+ zero")
    for words, said in (
        (("put", "news", "one"), "+ one"),
        (("put", "news", "two"), "~ two"),
        (("remove", "news"), "\n- "),
    ):
        assert command(world.a, "mdht", *words).returncode == 0
        done = time.monotonic()
        listener.wait_for(said)
        print(f"{said!r} {time.monotonic() - done:.3f} s after the command was done")
        assert time.monotonic() - done < 1.0
    assert listener.stop() == 0


def test_a_killed_peer_comes_back_with_its_records(world: World) -> None:
    state = str(world.a.directory / "kept")
    first = node(world.a, "--state-dir", state)
    second = node(world.b)
    wait_line(first, '"state":"ready"')
    assert command(world.a, "mdht", "put", "kept", "for good", "--state-dir", state).returncode == 0
    command(world.a, "mdht", "put", "large", "x" * 10_000, "--state-dir", state)
    command(world.a, "mdht", "put", "last", "y" * 400, "--state-dir", state)
    wait_until(lambda: wal_has(world.a, state), PATIENCE_S, "record in the state directory")
    for process in (first, second):  # nobody is left who could hand the records back
        process.kill()
        process.wait()
    node(world.a, "--state-dir", state)
    assert command(world.a, "mdht", "get", "kept", "--state-dir", state).stdout == "for good\n"
    assert command(world.a, "mdht", "get", "large", "--state-dir", state).stdout == "x" * 10_000 + "\n"


def wal_has(host: Host, state: str) -> bool:
    """Say whether the last value, and so what was put before it, has reached the disk: it writes once a second."""
    return any(b"y" * 300 in path.read_bytes() for path in Path(state).iterdir() if path.is_file())


def test_a_second_node_with_the_same_state_says_who_has_it(world: World) -> None:
    first = node(world.a)
    done = command(world.a, "mdht", "run")
    assert done.returncode == 1
    assert str(first.pid) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_node_survives_its_interface_going_down_and_up(world: World) -> None:
    first = node(world.a)
    node(world.b)
    wait_line(first, '"state":"ready"')
    assert command(world.b, "mdht", "put", "before", "kept").returncode == 0
    world.b.link(up=False)
    wait_until(lambda: command(world.b, "mdht", "put", "during", "kept too", timeout=40), PATIENCE_S, "put")
    world.b.link(up=True)
    assert command(world.a, "mdht", "get", "before").stdout == "kept\n"
    wait_until(
        lambda: command(world.a, "mdht", "get", "during").stdout == "kept too\n",
        30,
        "record put while the link was down",
    )


def test_an_unreachable_entry_point_is_one_warning_and_the_node_goes_on(world: World) -> None:
    process = world.c.popen(Host.program("mdht"), "run", "--bootstrap", "198.51.100.99:27183")
    process.wait_for("host ", PATIENCE_S)
    wait_line(process, "no other node answers")
    assert command(world.c, "mdht", "put", "alone", "here").returncode == 0
    assert command(world.c, "mdht", "get", "alone").stdout == "here\n"
    assert len(process.log.splitlines()) == 3, process.log  # it is there, in which subnet, and the warning
