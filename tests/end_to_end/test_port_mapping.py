"""A router that opens ports: miniupnpd, as many routers at home run it."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.sites import (
    MDHT_PORT,
    PATIENCE_S,
    bridge,
    command,
    json_lines,
    laboratory,
    mdht_status,
    run_mdht,
    wait_line,
)
from tools.netlab import Host, Process, wait_until
from tools.netlab_upnpd import Miniupnpd

pytestmark = pytest.mark.lab
ASKER = str(Path(__file__).with_name("port_asker.py"))
OUTSIDE = f"11.0.3.2:{MDHT_PORT}"


@dataclass(frozen=True)
class World:
    """Host a of one subnet, b of another; h1 and h2 behind a router. No Avahi."""

    a: Host
    b: Host
    h1: Host
    h2: Host
    nat: Host


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        street = lab.subnet("street", "11.0.3.0/24")
        one, two = lab.subnet("one", "11.0.1.0/24"), lab.subnet("two", "11.0.2.0/24")
        home = lab.subnet("home", "192.168.1.0/24")
        a, b = lab.host("a", one), lab.host("b", two)
        h1, h2 = lab.host("h1", home), lab.host("h2", home)
        lab.router("r", street, one, two)
        yield World(a, b, h1, h2, lab.nat("nat", street, home))


@pytest.fixture(autouse=True)
def _fresh(world: World) -> None:
    for host in (world.a, world.b, world.h1, world.h2):
        shutil.rmtree(host.directory / "state" / "mdht", ignore_errors=True)


def ask(host: Host, protocol: str, port: int = MDHT_PORT) -> Process:
    return host.popen(sys.executable, ASKER, protocol, str(port))


def wait_status(process: Process, **wanted: str) -> dict[str, Any]:
    """Wait until it says so, and return all that it says then."""

    def look() -> dict[str, Any]:
        told = json_lines(process.log)
        return told[-1] if told and all(told[-1][name] == value for name, value in wanted.items()) else {}

    return wait_until(look, PATIENCE_S, f"{wanted}", lambda: process.log)


def test_a_host_whose_router_opens_a_port_is_a_node_until_it_ends_and_after_the_router_has_restarted(
    world: World,
) -> None:
    entry = ("--bootstrap", f"{world.a.ipv4}:{MDHT_PORT}")
    daemon = Miniupnpd(world.nat)
    run_mdht(world.a)
    run_mdht(world.b, *entry)
    process = run_mdht(world.h1, "--map-port", *entry)
    wait_line(process, f"router 192.168.1.1 forwards {OUTSIDE} to this host (by PCP)")
    assert daemon.forwards() == {MDHT_PORT: f"{world.h1.ipv4}:{MDHT_PORT}"}
    wait_until(lambda: OUTSIDE in mdht_status(world.b)["neighbours"], PATIENCE_S, "a third node", lambda: process.log)
    wait_line(process, f"port: {OUTSIDE}, opened by router 192.168.1.1 by PCP for 7")
    found = mdht_status(world.h1)
    assert (found["role"], found["why"]) == ("node", "")
    assert 7000 < found["mapped_port"].pop("expires_in_s") <= 7200
    assert found["mapped_port"] == {"gateway": "192.168.1.1", "protocol": "PCP", "outside": OUTSIDE, "why": ""}
    assert f"port:       {OUTSIDE}, opened by router 192.168.1.1 by PCP" in command(world.h1, "mdht", "status").stdout
    assert command(world.b, "mdht", "put", "key", "asked from outside").returncode == 0
    wait_until(lambda: mdht_status(world.h1)["records"], PATIENCE_S, "a record that another subnet has put")
    daemon.restart()
    wait_until(daemon.forwards, PATIENCE_S, "the port, opened again", lambda: process.log)
    assert process.stop() == 0
    assert daemon.forwards() == {}
    daemon.stop()


def test_a_host_that_was_killed_gets_its_port_back(world: World) -> None:
    daemon = Miniupnpd(world.nat)
    process = run_mdht(world.h1, "--map-port")
    wait_line(process, f"forwards {OUTSIDE}")
    process.kill()
    process.wait()
    assert daemon.forwards(), "the router does not know"
    process = run_mdht(world.h1, "--map-port")
    wait_line(process, f"forwards {OUTSIDE}")
    assert process.stop() == 0
    assert daemon.forwards() == {}
    daemon.stop()


def test_a_router_that_knows_upnp_only_opens_ports_too_and_another_one_where_ours_is_taken(world: World) -> None:
    daemon = Miniupnpd(world.nat, datagrams=False)
    first = ask(world.h1, "UPnP")
    wait_status(first, protocol="UPnP", outside=OUTSIDE)
    second = ask(world.h2, "UPnP")
    taken = wait_status(second, protocol="UPnP")["outside"]
    assert taken.startswith("11.0.3.2:")
    assert taken != OUTSIDE
    assert set(daemon.forwards().values()) == {f"{host.ipv4}:{MDHT_PORT}" for host in (world.h1, world.h2)}
    assert (first.stop(), second.stop()) == (0, 0)
    assert daemon.forwards() == {}
    daemon.stop()


def test_a_router_that_does_not_answer_pcp_is_asked_by_nat_pmp(world: World) -> None:
    daemon = Miniupnpd(world.nat)
    drop = ("-p", "udp", "--dport", "5351", "-m", "length", "--length", "50:1500", "-j", "DROP")
    world.nat.run("iptables", "-A", "INPUT", *drop)  # those of NAT-PMP are shorter, 30 and 40 bytes
    asker = ask(world.h1, "NAT-PMP")
    wait_status(asker, protocol="NAT-PMP", outside=OUTSIDE)
    assert set(daemon.forwards()) == {MDHT_PORT}
    assert asker.stop() == 0
    assert daemon.forwards() == {}
    world.nat.run("iptables", "-D", "INPUT", *drop)
    daemon.stop()


def test_where_the_router_knows_nothing_of_it_the_user_is_told(world: World) -> None:
    process = run_mdht(world.h1, "--map-port")
    wait_line(process, "no port is opened: router 192.168.1.1 answers neither PCP nor NAT-PMP nor UPnP", "--public")
    assert "port:       not opened: router 192.168.1.1 answers neither" in command(world.h1, "mdht", "status").stdout
    assert process.stop() == 0


def test_z2z_has_a_port_opened_for_its_node_too(world: World) -> None:
    daemon = Miniupnpd(world.nat)
    process = bridge(world.h1, "--import", "--key", "home", "--map-port")
    wait_until(daemon.forwards, PATIENCE_S, "an opened port", lambda: process.log)
    shown = command(world.h1, "z2z", "status").stdout
    assert f"{OUTSIDE} opened by the router" in shown
    assert process.stop() == 0
    assert daemon.forwards() == {}
    daemon.stop()
