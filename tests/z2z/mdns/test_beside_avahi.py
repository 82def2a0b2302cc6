import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.z2z.mdns.memory_link import item
from tools.netlab import Avahi, Host, Lab, Subnet, decode_label, wait_until
from z2z.dns_records import decode_item, encode_item
from z2z.service_item import ServiceItem

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[3]
RAW = tuple(b"key%d=" % number + bytes(range(0xA0, 0xF8)) for number in range(8))
"More than 700 bytes, none of them ASCII beyond the keys."
HOST = "z2z-203-0-113-5-office"


class Agent:
    """A program on a host of the laboratory that drives one link."""

    running: ClassVar[list["Agent"]] = []

    def __init__(self, host: Host, interface: str | None = None) -> None:
        command = (sys.executable, "-u", "-m", "tests.z2z.mdns.agent", interface or host.interface)
        self.process = host.popen(*command, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE)
        self.running.append(self)
        self.wait("ready")

    def do(self, verb: str, **values: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": verb, **values}).encode() + b"\n")
        self.process.stdin.flush()

    def register(self, one: ServiceItem, host: str = HOST, ttl_s: int = 120) -> None:
        self.do("register", id=one.display_name, item=encode_item(one).hex(), host=host, ttl=ttl_s)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = [
            line for line in self.process.log.splitlines(keepends=True) if line.startswith("{") and line[-1] == "\n"
        ]
        return [event for event in map(json.loads, lines) if event["event"] in kinds]

    def items(self) -> list[ServiceItem]:
        return [decode_item(bytes.fromhex(event["item"])) for event in self.events("ServiceFound", "ServiceChanged")]

    def wait(self, kind: str, count: int = 1, timeout_s: float = 10) -> dict[str, Any]:
        def look() -> list[dict[str, Any]]:
            found = self.events(kind)
            return found if len(found) >= count else []

        return wait_until(look, timeout_s, f"{count} {kind}", lambda: self.process.log[-2_000:])[count - 1]

    def crash(self) -> None:
        assert self.process.stdin is not None
        self.process.kill()
        self.process.stdin.close()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(10) == 0


@pytest.fixture(autouse=True)
def _no_agent_survives() -> Iterator[None]:
    yield
    while Agent.running:
        Agent.running.pop().crash()


@dataclass(frozen=True)
class World:
    """Hosts a and b on one link, Avahi on both."""

    subnet: Subnet
    a: Host
    b: Host
    avahi_a: Avahi
    avahi_b: Avahi


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        subnet = lab.subnet("one", "198.51.100.0/24", "2001:db8:1::/64")
        a, b = lab.host("a", subnet), lab.host("b", subnet)
        yield World(subnet, a, b, a.start_avahi(loopback=True), b.start_avahi())


def imported(name: str, **changes: object) -> ServiceItem:
    addresses = (ip_address("203.0.113.5"), ip_address("2001:db8:77::5"))
    return item(
        name, **{"addresses": addresses, "txt": b"".join(bytes((len(text),)) + text for text in RAW), **changes}
    )


def seen(avahi: Avahi, service_type: str) -> set[tuple[str, int, str]]:
    return {(decode_label(one.instance), one.port, one.host) for one in avahi.browse(service_type)}


@pytest.mark.parametrize("name", ["Tom's Music v2.0", "Büro. 中文 🎵", "x" * 63])
def test_what_avahi_publishes_is_found_byte_for_byte(world: World, name: str) -> None:
    agent = Agent(world.a)  # beside an Avahi on the same port
    agent.do("browse", type="_daap._tcp")
    publication = world.avahi_b.publish(name, "_daap._tcp", 3689, RAW, ["_jazz._sub._daap._tcp"])
    wait_until(lambda: [one for one in agent.items() if one.subtypes], 5, "item with its subtype")
    found = agent.items()[-1]
    strings = {found.txt[at + 1 : at + 1 + found.txt[at]] for at in range(0, len(found.txt), len(RAW[0]) + 1)}
    assert (found.instance, found.port, found.host, strings) == (name.encode(), 3689, b"b", set(RAW))
    assert {str(address) for address in found.addresses} == {world.b.ipv4, world.b.ipv6}
    assert found.subtypes == ("_jazz",)
    agent.do("confirm", type="_daap._tcp", name=name)
    assert agent.wait("confirm")["alive"] is True
    publication.withdraw()
    agent.wait("ServiceLost", timeout_s=3)
    agent.do("confirm", type="_daap._tcp", name=name)
    assert agent.wait("confirm", 2)["alive"] is False
    agent.leave()


@pytest.mark.parametrize("name", ["Läden.music v1.2", "y" * 63])
def test_avahi_resolves_an_import_byte_for_byte_until_its_goodbye(world: World, name: str) -> None:
    agent = Agent(world.a)
    watch = world.avahi_b.watch("_daap._tcp")
    agent.register(imported(name, subtypes=("_jazz",)))
    assert watch.wait_for(lambda services: str(services).count(f"{HOST}.local") >= 2, 3) < 3
    for one in [one for one in world.avahi_b.browse("_daap._tcp") if one.host != "b.local"]:
        assert (decode_label(one.instance), one.port, one.host) == (name, 3689, f"{HOST}.local")
        assert one.address in {"203.0.113.5", "2001:db8:77::5"}
        assert one.txt_strings == RAW
    assert seen(world.avahi_a, "_daap._tcp")  # the Avahi on the importer's own host sees it too
    assert world.b.run("avahi-browse", "-rptk", "_jazz._sub._daap._tcp").stdout
    agent.leave()
    assert watch.wait_for(lambda services: f"{HOST}.local" not in str(services), 3) < 3
    watch.stop()


def test_no_device_ever_renames_itself(world: World) -> None:
    agent = Agent(world.a)
    for delay in range(6):  # the device starts before, while and after the import probes
        name = f"Printer {delay}"
        agent.register(imported(name, port=1 + 60_000 * (delay % 2)))
        if delay > 2:
            wait_until(lambda name=name: [one for one in agent.events("Registered") if one["id"] == name], 5, name)
        publication = world.avahi_b.publish(name, "_daap._tcp", 5_000, ["a=b"])
        assert publication.name == name
        wait_until(
            lambda name=name: [one for one in agent.events("Conflict", "Lost") if one["id"] == name], 5, "yielding"
        )
        assert agent.events("Conflict", "Lost")[-1]["reason"] == "ConflictReason.LOCAL_DEVICE"
        assert (name, 5_000, "b.local") in seen(world.avahi_b, "_daap._tcp")
        publication.withdraw()
    agent.leave()


def test_link_that_goes_down_and_comes_back_loses_nothing(world: World) -> None:
    agent = Agent(world.a)
    agent.register(imported("Flapping"))
    agent.do("browse", type="_ipp._tcp")
    agent.wait("Registered")
    world.a.link(False)
    wait_until(lambda: "is down: waiting" in agent.process.log, 5, "line about the interface")
    publication = world.avahi_b.publish("Meanwhile", "_ipp._tcp", 631, ["a=b"])
    world.a.link(True)
    wait_until(lambda: "is back" in agent.process.log, 5, "line about the interface")
    agent.wait("ServiceFound")
    watch = world.avahi_b.watch("_daap._tcp")
    watch.wait_for(lambda services: "Flapping" in str(services), 5)
    assert len(agent.events("Registered")) == 1
    publication.withdraw()
    agent.leave()
    watch.stop()


def test_crash_is_forgotten_within_the_lifetime(world: World) -> None:
    agent = Agent(world.a)
    agent.register(imported("Crashing"), ttl_s=5)
    watch = world.avahi_b.watch("_daap._tcp")
    watch.wait_for(lambda services: "Crashing" in str(services), 5)
    agent.crash()
    assert watch.wait_for(lambda services: "Crashing" not in str(services), 12) < 8
    watch.stop()


def test_loopback_reaches_this_machine_and_nobody_else(world: World) -> None:
    agent, other = Agent(world.a, "lo"), Agent(world.a, "lo")
    other.do("browse", type="_daap._tcp")
    agent.register(imported("Here only"))
    other.wait("ServiceFound")
    wait_until(lambda: "Here only" in str(seen(world.avahi_a, "_daap._tcp")), 5, "service at the Avahi of this machine")
    assert "Here only" not in {name for name, _, _ in seen(world.avahi_b, "_daap._tcp")}
    agent.do("stats")
    assert agent.wait("stats")["packets_unsent"] == 0
    agent.leave()
    other.leave()


def test_a_thousand_services_cross_a_real_link_without_loss(world: World) -> None:
    announcer, browser = Agent(world.a), Agent(world.b)
    browser.do("browse", type="_daap._tcp")
    for number in range(1_000):
        announcer.register(imported(f"Service {number}", txt=b"\x09txtvers=1"))
    browser.wait("ServiceFound", 1_000, 20)
    late = Agent(world.b)
    late.do("browse", type="_daap._tcp")
    late.wait("ServiceFound", 1_000, 60)
    announcer.leave()
    browser.wait("ServiceLost", 1_000, 10)
    assert not browser.events("ServiceRefused")
    browser.leave()
    late.leave()
