import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.end_to_end.sites import (
    LIMIT_S,
    MDHT_PORT,
    PATIENCE_S,
    alive,
    bridge,
    laboratory,
    lacks,
    names,
    shows,
    wait_line,
)
from tools.netlab import Avahi, Host, Process, Watch, wait_until

pytestmark = pytest.mark.lab
CLEAN_S = 35.0
"Clients forget what a killed importer has shown: its records live for 30 s."
LEASE = ("--ttl", "10", "--refresh", "2")
LEASE_S = 10.0


@dataclass(frozen=True)
class Aftermath:
    """What a killed program leaves behind; the other tests run while its records run out."""

    watch: Watch
    "Of the clients on b."
    arguments: tuple[str, ...]
    "Of the killed program."
    forgotten: Future[float]
    "Seconds until the clients showed the service no more."


@dataclass(frozen=True)
class World:
    """Hosts a and b on two subnets with Avahi, hub on a third one, a router between them."""

    a: Host
    b: Host
    hub: Host
    router: Host
    avahi_a: Avahi
    avahi_b: Avahi
    killed: dict[str, Aftermath]
    "By its role."

    @property
    def entry(self) -> str:
        return f"{self.a.ipv4}:{MDHT_PORT}"


def kill(process: Process) -> float:
    """Kill it and return the time."""
    alive(process)
    process.kill()
    process.wait()
    return time.monotonic()


def kill_an_end(a: Host, b: Host, avahis: tuple[Avahi, Avahi], pool: ThreadPoolExecutor, role: str) -> Aftermath:
    """Let clients of b see a service of a, and kill the exporter or the importer."""
    service_type = f"_{role}._tcp"
    exporting = ("--export", service_type, "--key", role, *LEASE)
    importing = ("--import", "--key", role, "--bootstrap", f"{a.ipv4}:{MDHT_PORT}")
    avahis[0].publish("Left over", service_type, 1)
    ends = {"exporter": bridge(a, *exporting), "importer": bridge(b, *importing)}
    watch = avahis[1].watch(service_type)
    watch.wait_for(names("Left over"), PATIENCE_S)
    kill(ends[role])
    return Aftermath(
        watch, exporting if role == "exporter" else importing, pool.submit(watch.wait_for, names(), CLEAN_S + 1)
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        links = [
            lab.subnet("one", "198.51.100.0/24"),
            lab.subnet("two", "203.0.113.0/24"),
            lab.subnet("three", "192.0.2.0/24"),
        ]
        a, b, hub = (lab.host(name, link) for name, link in zip(("a", "b", "hub"), links, strict=True))
        router = lab.router("router", *links)
        avahi_a, avahi_b = lab.start_avahi(a, b)
        with ThreadPoolExecutor(2) as pool:
            killed = {role: kill_an_end(a, b, (avahi_a, avahi_b), pool, role) for role in ("exporter", "importer")}
            yield World(a, b, hub, router, avahi_a, avahi_b, killed)


def test_a_restarted_importer_shows_the_service_again_under_its_own_name(world: World) -> None:
    world.avahi_a.publish("At once", "_once._tcp", 1)
    bridge(world.a, "--export", "_once._tcp", "--key", "again")
    arguments = ("--import", "--key", "again", "--bootstrap", world.entry)
    importer = bridge(world.b, *arguments)
    watch = world.avahi_b.watch("_once._tcp")
    watch.wait_for(names("At once"), PATIENCE_S)
    kill(importer)
    second = bridge(world.b, *arguments)
    wait_line(second, "imported At once")
    assert {each.instance for each in world.avahi_b.browse("_once._tcp")} == {"At once"}


def test_the_services_of_a_killed_device_are_withdrawn(world: World) -> None:
    world.avahi_b.publish("Shown", "_other._tcp", 1)
    device = world.hub.start_avahi()
    device.publish("Dies", "_dies._tcp", 1)
    bridge(world.hub, "--export", "_dies._tcp", "--key", "dies", "--site", "hub", *LEASE)
    bridge(world.b, "--import", "--key", "dies", "--bootstrap", f"{world.hub.ipv4}:{MDHT_PORT}")
    watch = world.avahi_b.watch("_dies._tcp")
    watch.wait_for(names("Dies"), PATIENCE_S)
    device.kill()
    took_s = watch.wait_for(names(), PATIENCE_S)
    print(f"withdrawn {took_s:.1f} s after kill -9 of the device")
    again = world.hub.start_avahi()
    again.publish("Dies", "_dies._tcp", 2)
    watch.wait_for(names("Dies"), PATIENCE_S)
    again.stop()


def test_the_bridge_outlives_the_peer_through_which_both_ends_met(world: World) -> None:
    peer = world.hub.popen(Host.program("mdht"), "run", "-v")
    peer.wait_for("node ")
    entry = f"{world.hub.ipv4}:{MDHT_PORT}"
    first = world.avahi_a.publish("First", "_hub._tcp", 1)
    bridge(world.a, "--export", "_hub._tcp", "--key", "hub", "--bootstrap", entry)
    bridge(world.b, "--import", "--key", "hub", "--bootstrap", entry)
    watch = world.avahi_b.watch("_hub._tcp")
    watch.wait_for(names("First"), PATIENCE_S)
    kill(peer)
    world.avahi_a.publish("Second", "_hub._tcp", 2)
    took_s = watch.wait_for(names("First", "Second"), PATIENCE_S)
    print(f"seen {took_s:.1f} s after its announcement, without the peer")
    first.withdraw()
    took_s = watch.wait_for(names("Second"), PATIENCE_S)
    print(f"gone {took_s:.1f} s after its goodbye, without the peer")


def test_a_cut_between_the_links_heals(world: World) -> None:
    world.avahi_a.publish("Kept", "_cut._tcp", 1)
    exporter = bridge(world.a, "--export", "_cut._tcp", "--key", "cut", *LEASE)
    bridge(world.b, "--import", "--key", "cut", "--bootstrap", world.entry)
    watch = world.avahi_b.watch("_cut._tcp")
    watch.wait_for(names("Kept"), PATIENCE_S)
    world.router.link(False, world.b.interfaces["eth0"])
    world.avahi_a.publish("During", "_cut._tcp", 2)
    watch.wait_for(names(), LEASE_S + LIMIT_S)
    world.router.link(True, world.b.interfaces["eth0"])
    took_s = watch.wait_for(names("Kept", "During"), 2 * PATIENCE_S)
    print(f"both services seen {took_s:.1f} s after the link healed")
    alive(exporter)


@pytest.mark.parametrize("side", ["exporter", "importer"])
def test_an_interface_that_goes_down_and_up_loses_nothing(world: World, side: str) -> None:
    service_type = f"_{side[:2]}-steady._tcp"
    service = world.avahi_a.publish("Steady", service_type, 1)
    exporter = bridge(world.a, "--export", service_type, "--key", f"steady {side}", *LEASE)
    importer = bridge(world.b, "--import", "--key", f"steady {side}", "--bootstrap", world.entry)
    watch = world.avahi_b.watch(service_type)
    watch.wait_for(shows("Steady"), PATIENCE_S)
    host, process = (world.a, exporter) if side == "exporter" else (world.b, importer)
    host.link(up=False)
    wait_until(
        lambda: "eth0" in process.log.partition("(site ")[2], PATIENCE_S, "line that names eth0", lambda: process.log
    )
    host.link(up=True)
    wait_until(
        lambda: {each.instance for each in world.avahi_b.browse(service_type)} == {"Steady"}, 2 * PATIENCE_S, "service"
    )
    alive(process)
    second = world.avahi_a.publish("New", service_type, 2)
    watch.wait_for(shows("New"), PATIENCE_S)
    service.withdraw()
    watch.wait_for(lacks("Steady"), PATIENCE_S)
    second.withdraw()
    assert len([line for line in process.log.splitlines() if line.startswith("z2z: ")]) <= 6, process.log


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_an_end_by_signal_takes_everything_back_at_once(world: World, number: signal.Signals, status: int) -> None:
    key = f"signal {number}"
    world.avahi_a.publish("Signal", "_signal._tcp", 1)
    exporter = bridge(world.a, "--export", "_signal._tcp", "--key", key)
    arguments = ("--import", "--key", key, "--bootstrap", world.entry)
    importer = bridge(world.b, *arguments)
    watch = world.avahi_b.watch("_signal._tcp")
    watch.wait_for(names("Signal"), PATIENCE_S)
    importer.send_signal(number)
    started = time.monotonic()
    watch.wait_for(names(), LIMIT_S)
    print(f"goodbye seen {time.monotonic() - started:.2f} s after the signal")
    assert importer.wait(LIMIT_S + 2) == status
    again = bridge(world.b, *arguments)
    watch.wait_for(names("Signal"), PATIENCE_S)
    exporter.send_signal(number)
    started = time.monotonic()
    wait_line(again, "removed Signal", timeout_s=LIMIT_S)
    print(f"tombstone here {time.monotonic() - started:.2f} s after the signal")
    watch.wait_for(names(), LIMIT_S)
    assert exporter.wait(LIMIT_S + 2) == status


def test_services_of_a_killed_exporter_end_with_their_lease_and_come_back_with_it(world: World) -> None:
    after = world.killed["exporter"]
    took_s = after.forgotten.result(CLEAN_S)
    print(f"withdrawn {took_s:.1f} s after kill -9 of the exporter, with a lease of {LEASE_S:g} s")
    assert LEASE_S / 2 < took_s < LEASE_S + LIMIT_S
    bridge(world.a, *after.arguments)
    took_s = after.watch.wait_for(names("Left over"), PATIENCE_S)
    print(f"back {took_s:.1f} s after its restart")


def test_clients_forget_the_services_of_a_killed_importer_and_find_them_with_its_successor(world: World) -> None:
    after = world.killed["importer"]
    took_s = after.forgotten.result(CLEAN_S)
    print(f"clients clean {took_s:.1f} s after kill -9 of the importer")
    assert took_s <= CLEAN_S
    bridge(world.b, *after.arguments)
    after.watch.wait_for(names("Left over"), PATIENCE_S)
