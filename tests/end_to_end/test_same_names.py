import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.end_to_end.sites import (
    LIMIT_S,
    MDHT_PORT,
    PATIENCE_S,
    bridge,
    holds,
    laboratory,
    names,
)
from tools.netlab import Avahi, Host, Process, Watch, wait_until

pytestmark = pytest.mark.lab
CALM_S = 15.0
"Long enough for a loop to show: an import that is exported again would take 2 s per turn."
TAKE_OVER_S = 20.0
"An importer that stands by asks every ten seconds whether the other one still lives, and twice."


@dataclass(frozen=True)
class World:
    """Three subnets around a router, with hosts a, b, c and Avahi; b2 and b3 stand beside b."""

    a: Host
    b: Host
    b2: Host
    b3: Host
    c: Host
    avahi_a: Avahi
    avahi_b: Avahi
    avahi_c: Avahi

    @property
    def entry(self) -> str:
        return f"{self.a.ipv4}:{MDHT_PORT}"

    def check_nobody_renamed(self) -> None:
        for avahi, name in ((self.avahi_a, "a"), (self.avahi_b, "b"), (self.avahi_c, "c")):
            assert avahi.host_name() == name
            assert not re.search(r"(?i)conflict|collision|withdrawing|retrying with", avahi.log), avahi.log


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with laboratory() as lab:
        links = [
            lab.subnet("one", "198.51.100.0/24", "2001:db8:1::/64"),
            lab.subnet("two", "203.0.113.0/24", "2001:db8:2::/64"),
            lab.subnet("three", "192.0.2.0/24", "2001:db8:3::/64"),
        ]
        a, b, c = (lab.host(name, link) for name, link in zip("abc", links, strict=True))
        b2, b3 = lab.host("b2", links[1]), lab.host("b3", links[1])
        lab.router("router", *links)
        yield World(a, b, b2, b3, c, *lab.start_avahi(a, b, c))


def seen_once(watch: Watch) -> Counter[tuple[str, str]]:
    """Count what a browser shows per protocol."""
    return Counter((service.instance, service.protocol) for service in watch.services())


def test_three_sites_in_a_loop_see_each_foreign_service_once(world: World) -> None:
    bridges = [
        bridge(world.a, "--export", "_loop._tcp", "--import", "--key", "loop", "--site", "one", "-v"),
        bridge(
            world.b,
            "--export",
            "_loop._tcp",
            "--import",
            "--key",
            "loop",
            "--site",
            "two",
            "-v",
            "--bootstrap",
            world.entry,
        ),
        bridge(
            world.c,
            "--export",
            "_loop._tcp",
            "--import",
            "--key",
            "loop",
            "--site",
            "three",
            "-v",
            "--bootstrap",
            world.entry,
        ),
    ]
    avahis = (world.avahi_a, world.avahi_b, world.avahi_c)
    watches = [avahi.watch("_loop._tcp") for avahi in avahis]
    wanted = ("On one", "On two", "On three")
    for avahi, name in zip(avahis, wanted, strict=True):
        avahi.publish(name, "_loop._tcp", 99)
    for watch in watches:
        watch.wait_for(names(*wanted), PATIENCE_S)

    def calm() -> bool:
        return all(set(seen_once(watch).values()) == {1} and names(*wanted)(watch.services()) for watch in watches)

    holds(calm, CALM_S, lambda: "\n".join(watch.process.log for watch in watches))
    for process in bridges:
        assert len(re.findall("^exported ", process.log, re.MULTILINE)) == 1, process.log
        assert len(re.findall("^imported ", process.log, re.MULTILINE)) == 2, process.log
        assert "this site's own export" in process.log
    world.check_nobody_renamed()


def test_the_same_name_on_both_links_stays_with_the_local_devices(world: World) -> None:
    local = [
        avahi.publish("Printer", "_ipp._tcp", port) for avahi, port in ((world.avahi_a, 631), (world.avahi_b, 632))
    ]
    bridge(world.a, "--export", "_ipp._tcp", "--import", "--key", "same", "--site", "one")
    bridge(world.b, "--export", "_ipp._tcp", "--import", "--key", "same", "--site", "two", "--bootstrap", world.entry)
    watch_a, watch_b = world.avahi_a.watch("_ipp._tcp"), world.avahi_b.watch("_ipp._tcp")
    watch_a.wait_for(names("Printer", "Printer (two)"), PATIENCE_S)
    watch_b.wait_for(names("Printer", "Printer (one)"), PATIENCE_S)
    for watch, ports in (
        (watch_a, {"Printer": 631, "Printer (two)": 632}),
        (watch_b, {"Printer": 632, "Printer (one)": 631}),
    ):
        assert {service.instance: service.port for service in watch.services()} == ports
    assert [publication.name for publication in local] == ["Printer", "Printer"]
    world.check_nobody_renamed()


def test_an_import_yields_its_name_to_a_device_that_comes_late(world: World) -> None:
    world.avahi_a.publish("Scanner", "_scan._tcp", 1)
    bridge(world.a, "--export", "_scan._tcp", "--key", "late", "--site", "one")
    importer = bridge(world.b, "--import", "--key", "late", "--bootstrap", world.entry)
    watch = world.avahi_b.watch("_scan._tcp")
    watch.wait_for(names("Scanner"), PATIENCE_S)
    local = world.avahi_b.publish("Scanner", "_scan._tcp", 2)
    wait_until(
        lambda: {s.instance: s.port for s in world.avahi_b.browse("_scan._tcp")} == {"Scanner": 2, "Scanner (one)": 1},
        PATIENCE_S,
        "two scanners",
        lambda: importer.log,
    )
    assert local.name == "Scanner"
    world.check_nobody_renamed()


def test_a_device_that_takes_the_name_of_an_import_without_a_clash_of_hosts(world: World) -> None:
    """The importer's host names never meet a device's: a is the name of a host on every link."""
    world.avahi_b.publish_address("a.local", "203.0.113.77")
    world.avahi_a.publish("Names", "_host._tcp", 1)
    bridge(world.a, "--export", "_host._tcp", "--key", "hosts", "--site", "one")
    bridge(world.b, "--import", "--key", "hosts", "--bootstrap", world.entry)
    watch = world.avahi_b.watch("_host._tcp")
    watch.wait_for(names("Names"), PATIENCE_S)
    (host,) = {service.host for service in watch.services()}
    assert host == "z2z-198-51-100-2-one.local"
    assert world.b.run("avahi-resolve", "-4n", "a.local").stdout.split() == ["a.local", "203.0.113.77"]
    world.check_nobody_renamed()


def removals(watch: Watch) -> list[str]:
    """Return what a browser has said of services that went."""
    return [line for line in watch.process.log.splitlines() if line.startswith("-")]


def the_one_that_serves(importers: list[Process]) -> Process | None:
    """Return the importer that shows the service, once all others stand by."""
    serving = [each for each in importers if each.log.rfind("imported Twice") > each.log.rfind("standby Twice")]
    standing = [each for each in importers if each.log.rfind("standby Twice") > each.log.rfind("imported Twice")]
    return serving[0] if len(serving) == 1 and len(serving) + len(standing) == len(importers) else None


def test_three_importers_on_a_link_are_one_for_a_browser_whichever_way_one_ends(world: World) -> None:
    world.avahi_a.publish("Twice", "_twice._tcp", 1)
    bridge(world.a, "--export", "_twice._tcp", "--key", "pair", "--site", "one")
    hosts = (world.b, world.b2, world.b3)
    left = [bridge(host, "--import", "--key", "pair", "-v", "--bootstrap", world.entry) for host in hosts]
    logs = lambda: "\n\n".join(each.log for each in left)  # noqa: E731 - said at three waits
    serving = wait_until(lambda: the_one_that_serves(left), PATIENCE_S, "one that serves", logs)
    watch = world.avahi_b.watch("_twice._tcp")
    watch.wait_for(names("Twice"), PATIENCE_S)
    assert set(seen_once(watch).values()) == {1}
    for end in ("goodbye", "kill -9"):
        started = time.monotonic()
        if end == "kill -9":
            serving.kill()
            serving.wait()
        else:
            assert serving.stop() == 0
        left.remove(serving)
        serving = wait_until(lambda: the_one_that_serves(left), TAKE_OVER_S, "take-over", logs)
        print(f"taken over {time.monotonic() - started:.2f} s after {end}")
    holds(lambda: set(seen_once(watch).values()) == {1}, LIMIT_S, lambda: watch.process.log)
    assert removals(watch) == []
    assert {service.instance for service in world.avahi_b.browse("_twice._tcp")} == {"Twice"}
