"""A subnet behind a router that translates addresses: a client of an overlay whose nodes are on public addresses."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.end_to_end.sites import (
    MDHT_PORT,
    PATIENCE_S,
    bridge,
    command,
    laboratory,
    mdht_status,
    names,
    run_mdht,
    wait_line,
)
from tools.netlab import Host, Process, wait_until

pytestmark = pytest.mark.lab
JUDGED_S = 20.0
"Until a host knows that it is not reached: three tries, and the founding before them."
HIDDEN = re.compile(r"192\.168\.1\.|11\.0\.3\.2")
"Addresses of the hosts behind the router, and of the router."


@dataclass(frozen=True)
class World:
    """Host a of one subnet, b and b2 of another; h1 and h2 behind a router. No Avahi, but where a test starts it."""

    a: Host
    b: Host
    b2: Host
    h1: Host
    h2: Host
    nat: Host

    @property
    def public(self) -> list[Host]:
        return [self.a, self.b, self.b2]

    @property
    def hidden(self) -> list[Host]:
        return [self.h1, self.h2]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        # Not of a documentation range, which counts as private: hosts there would be of one network with 192.168.
        street = lab.subnet("street", "11.0.3.0/24")
        one, two = lab.subnet("one", "11.0.1.0/24"), lab.subnet("two", "11.0.2.0/24")
        home = lab.subnet("home", "192.168.1.0/24")
        a, b, b2 = lab.host("a", one), lab.host("b", two), lab.host("b2", two)
        h1, h2 = lab.host("h1", home), lab.host("h2", home)
        lab.router("r", street, one, two)
        yield World(a, b, b2, h1, h2, lab.nat("nat", street, home))


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    for host in (*world.public, *world.hidden):
        shutil.rmtree(host.directory / "state" / "mdht", ignore_errors=True)


def overlay(world: World, *arguments: str) -> None:
    """Let the public hosts come together."""
    entry = ("--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    for host in world.public:
        run_mdht(host, *arguments, *(entry if host is not world.a else ()))
    wait_until(lambda: [mdht_status(host)["contacts"] for host in world.public] == [1, 1, 1], JUDGED_S, "two nodes")


def join(host: Host, world: World, *arguments: str) -> Process:
    """Let a host behind the router come to them."""
    process = run_mdht(host, "--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}", *arguments)
    wait_until(lambda: mdht_status(host)["contacts"] == 2, JUDGED_S, "two other nodes", lambda: process.log)
    return process


def nothing_hidden_is_known(world: World) -> None:
    for host in world.public:
        found = mdht_status(host)
        assert found["contacts"] == 1
        assert not HIDDEN.search(" ".join([*found["neighbours"], *found["members"]]))
        held = host.run("sh", "-c", "cat state/mdht/*/state.db* | strings", check=False).stdout
        assert not HIDDEN.search(held)


def wait_said(listener: Process, text: str) -> None:
    wait_until(lambda: text in listener.log, PATIENCE_S, text, lambda: listener.log)


@pytest.mark.parametrize("protocol", ["kademlia", "chord"])
def test_hosts_behind_a_router_put_get_and_watch_with_the_others_who_do_not_list_them(
    world: World, protocol: str
) -> None:
    overlay(world, "--overlay", protocol)
    entry = ("--overlay", protocol, "--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    once = command(world.h1, "mdht", "put", "once", "by nobody that stays", *entry)
    assert (once.stdout.startswith("stored at 2 nodes"), once.stderr) == (True, "")
    assert command(world.h2, "mdht", "get", "once", *entry).stdout == "by nobody that stays\n"
    first, second = [join(host, world, "--overlay", protocol) for host in world.hidden]
    for host, process in zip(world.hidden, (first, second), strict=True):
        assert mdht_status(host)["role"] == "client"
        wait_line(process, "is a client of the overlay", "forward UDP port 27183", "--public 11.0.3.2:27183")
        shown = command(host, "mdht", "status").stdout
        assert "node:       client\nbecause:    others see this host at 11.0.3.2:" in shown
        assert re.search(r"mdht_client\{.*\} 1", command(host, "mdht", "status", "--prometheus").stdout)
    assert mdht_status(world.a)["role"] == "node"
    listeners = [host.popen(Host.program("mdht"), "listen", "key") for host in (*world.public, *world.hidden)]
    for host in (*world.public, *world.hidden):
        assert command(host, "mdht", "put", "key", f"by {host.name}").stdout.startswith("stored at 2 nodes")
    for host in (*world.public, *world.hidden):
        found = command(host, "mdht", "get", "key").stdout.splitlines()
        assert sorted(found) == sorted(f"by {each.name}" for each in (*world.public, *world.hidden))
    for listener in listeners:
        for host in (*world.public, *world.hidden):
            wait_said(listener, f"+ by {host.name}")
    nothing_hidden_is_known(world)
    # The one that has come first, and looked for the overlay, dies.
    first.kill()
    first.wait()
    for host in (world.b, world.b2):
        assert command(host, "mdht", "put", "key", f"again by {host.name}").returncode == 0
        wait_said(listeners[-1], f"~ again by {host.name}")
    assert command(world.h2, "mdht", "put", "other", "still there").returncode == 0
    assert command(world.b2, "mdht", "get", "other").stdout == "still there\n"
    nothing_hidden_is_known(world)


def test_a_forwarded_port_that_is_named_makes_the_subnet_a_node_and_one_that_is_not_forwarded_does_not(
    world: World,
) -> None:
    overlay(world)
    named = ("--public", f"{world.nat.ipv4}:{MDHT_PORT}")
    process = join(world.h1, world, *named)
    assert mdht_status(world.h1)["role"] == "client"
    wait_line(process, "nothing arrives that others send to 11.0.3.2:27183", "forward UDP port 27183")
    assert process.stop() == 0
    world.nat.forward_port(MDHT_PORT, world.h1)
    join(world.h1, world, *named)
    second = join(world.h2, world)
    assert [mdht_status(host)["role"] for host in world.hidden] == ["node", "node"]
    wait_until(lambda: [mdht_status(host)["contacts"] for host in world.public] == [2, 2, 2], PATIENCE_S, "three nodes")
    wait_line(second, "this host is not named to other subnets", "only other hosts of this subnet are reached")
    assert command(world.h2, "mdht", "put", "key", "by a node").returncode == 0
    wait_until(
        lambda: all(mdht_status(host)["records"] for host in world.hidden), PATIENCE_S, "copies behind the router"
    )
    assert command(world.b2, "mdht", "get", "key").stdout == "by a node\n"
    known = {address for host in world.public for address in mdht_status(host)["neighbours"]}
    assert known - {"11.0.3.2:27183"} == {f"{host.ipv4}:{MDHT_PORT}" for host in world.public} & known
    assert "11.0.3.2:27183" in known
    world.nat.forward_port(MDHT_PORT, world.h1, on=False)


def test_a_service_behind_the_router_is_imported_elsewhere(world: World) -> None:
    overlay(world)
    inside, outside = world.h1.start_avahi(), world.b.start_avahi()
    inside.publish("Tom's Music", "_daap._tcp", 3689, ["txtvers=1"])
    entry = ("--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    bridge(world.h1, "--export", "_daap._tcp", "--key", "home", "--allow-private", *entry)
    bridge(world.b, "--import", "--key", "home", *entry)
    outside.watch("_daap._tcp").wait_for(names("Tom's Music"), JUDGED_S)
    inside.publish("Second", "_daap._tcp", 3690)
    outside.watch("_daap._tcp").wait_for(names("Tom's Music", "Second"), JUDGED_S)
