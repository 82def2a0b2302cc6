import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.end_to_end.sites import (
    LIMIT_S,
    PATIENCE_S,
    TwoSites,
    bridge,
    names,
    two_sites,
    wait_line,
)
from tools.netlab import wait_until

pytestmark = pytest.mark.lab
TYPE = "_daap._tcp"
TXT = [b"txtvers=1", b"Database ID=0B5E7A11", "Machine Name=Tom's Mac ♫".encode(), b"raw=\x01\xfe\xff", b"flag"]


@pytest.fixture(scope="module")
def sites() -> Iterator[TwoSites]:
    with two_sites() as sites:
        yield sites


def test_a_service_of_one_link_appears_on_another_and_leaves_in_time(sites: TwoSites) -> None:
    bridge(sites.a, "--export", TYPE, "--key", "office")
    bridge(sites.b, "--import", "--key", "office", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch(TYPE)
    started = time.monotonic()
    publication = sites.avahi_a.publish("Tom's Music", TYPE, 3689, TXT)
    watch.wait_for(bool, PATIENCE_S)
    visible_s = time.monotonic() - started
    services = sites.avahi_b.browse(TYPE)
    assert {service.protocol for service in services} == {"IPv4", "IPv6"}
    for service in services:
        assert (service.instance, service.port) == ("Tom's Music", 3689)
        assert service.txt_strings == tuple(TXT)
        assert service.address in (sites.a.ipv4, sites.a.ipv6)
        assert service.host.startswith("z2z-")
    started = time.monotonic()
    publication.withdraw()
    watch.wait_for(names(), PATIENCE_S)
    gone_s = time.monotonic() - started
    print(f"publish to visible {visible_s:.2f} s, withdraw to gone {gone_s:.2f} s")
    assert visible_s <= LIMIT_S
    assert gone_s <= LIMIT_S
    assert sites.avahi_b.browse(TYPE) == []


def test_a_service_that_was_there_before_and_one_that_changes(sites: TwoSites) -> None:
    publication = sites.avahi_a.publish("Early", "_ipp._tcp", 631, ["v=1"])
    bridge(sites.a, "--export", "_ipp._tcp", "--key", "changes")
    bridge(sites.b, "--import", "--key", "changes", "--bootstrap", sites.entry)
    wait_shown(sites, "_ipp._tcp", {("Early", 631, (b"v=1",))})
    publication.withdraw()
    sites.avahi_a.publish("Early", "_ipp._tcp", 632, ["v=2"])
    wait_shown(sites, "_ipp._tcp", {("Early", 632, (b"v=2",))})


def wait_shown(sites: TwoSites, service_type: str, wanted: set[tuple[str, int, tuple[bytes, ...]]]) -> None:
    """Look again and again: a running `avahi-browse` tells how a service was resolved first, and no change."""

    def look() -> bool:
        return {(each.instance, each.port, each.txt_strings) for each in sites.avahi_b.browse(service_type)} == wanted

    wait_until(look, PATIENCE_S, f"{wanted} on b")


def test_any_instance_name_arrives_as_it_is(sites: TwoSites) -> None:
    wanted = (
        "Printer 2.5 (3rd floor) v1.0",
        "Bürodrucker “Süd” 日本 🖨",
        r"back\slash and dot\. and \032",
        "x" * 63,
        " leading; semicolon",
    )
    bridge(sites.a, "--export", "_http._tcp", "--key", "names")
    bridge(sites.b, "--import", "--key", "names", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch("_http._tcp")
    with ThreadPoolExecutor(len(wanted)) as pool:  # Avahi probes for all of them at once
        list(pool.map(lambda name: sites.avahi_a.publish(name, "_http._tcp", 80, ["path=/"]), wanted))
    watch.wait_for(names(*wanted), PATIENCE_S)


def test_a_browser_of_a_subtype_sees_the_import(sites: TwoSites) -> None:
    subtypes = ["_printer._sub._http._tcp", "_color._sub._http._tcp"]
    bridge(sites.a, "--export", "_http._tcp", "--key", "subtypes")
    bridge(sites.b, "--import", "--key", "subtypes", "--bootstrap", sites.entry)
    watches = [sites.avahi_b.watch(subtype) for subtype in subtypes]
    other = sites.avahi_b.watch("_scanner._sub._http._tcp")
    sites.avahi_a.publish("Web printer", "_http._tcp", 80, ["a=b"], subtypes)
    for watch in watches:
        watch.wait_for(names("Web printer"), PATIENCE_S)
    assert other.services() == []
    assert "Web" in sites.avahi_b.browse_raw("_printer._sub._http._tcp")


def test_a_large_txt_with_any_bytes_arrives_byte_for_byte(sites: TwoSites) -> None:
    txt = [
        b"zero=\x00\x00\x00\x00",
        b"all=" + bytes(range(240)),
        b"high=" + b"\xff" * 200,
        b"z=" + b"y" * 250,
    ]
    assert sum(len(text) + 1 for text in txt) >= 700
    bridge(sites.a, "--export", "_raw._tcp", "--key", "raw")
    bridge(sites.b, "--import", "--key", "raw", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch("_raw._tcp")
    sites.avahi_a.publish("Raw", "_raw._tcp", 9, txt)
    watch.wait_for(bool, PATIENCE_S)
    for avahi in (sites.avahi_a, sites.avahi_b):
        assert {service.txt_strings for service in avahi.browse("_raw._tcp")} == {tuple(txt)}


def test_a_service_too_large_for_one_record_of_the_overlay_arrives_in_pieces(sites: TwoSites) -> None:
    txt = [b"%03d=" % number + b"x" * 240 for number in range(5)]  # Avahi sends no record beyond a packet of 1,500
    bridge(sites.a, "--export", "_huge._tcp", "--key", "huge")
    bridge(sites.b, "--import", "--key", "huge", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch("_huge._tcp")
    sites.avahi_a.publish("Huge", "_huge._tcp", 9, txt)
    watch.wait_for(bool, PATIENCE_S)
    assert {service.txt_strings for service in watch.services()} == {tuple(txt)}


def test_ipv6_addresses_are_carried_over_an_overlay_that_speaks_ipv6(sites: TwoSites) -> None:
    bridge(sites.a, "--export", "_six._tcp", "--key", "six")
    bridge(sites.b, "--import", "--key", "six", "--bootstrap", f"[{sites.a.ipv6}]:27183")
    watch = sites.avahi_b.watch("_six._tcp")
    sites.avahi_a.publish_address("only-six.local", "2001:db8:1::66")
    sites.avahi_a.publish("Both", "_six._tcp", 1)
    sites.avahi_a.publish("Only six", "_six._tcp", 2, host="only-six.local")
    watch.wait_for(names("Both", "Only six"), PATIENCE_S)
    hosts = {service.instance: service.host for service in watch.services() if service.host}
    for name, version, address in (
        ("Both", "-4", sites.a.ipv4),
        ("Both", "-6", sites.a.ipv6),
        ("Only six", "-6", "2001:db8:1::66"),
    ):
        resolved = sites.b.run("avahi-resolve", version, "-n", hosts[name]).stdout.split()
        assert resolved == [hosts[name], address]


def test_private_addresses_stay_unless_they_are_allowed(sites: TwoSites) -> None:
    sites.avahi_a.publish_address("inner.local", "192.168.7.7")
    first = bridge(sites.a, "--export", "_inner._tcp", "--key", "inner")
    bridge(sites.b, "--import", "--key", "inner", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch("_inner._tcp")
    sites.avahi_a.publish("Inner", "_inner._tcp", 7, host="inner.local")
    line = wait_line(first, "skipped Inner")
    assert "192.168.7.7 is private" in line
    assert "--allow-private" in line
    sites.avahi_a.publish("Outer", "_inner._tcp", 8)
    watch.wait_for(names("Outer"), PATIENCE_S)
    assert first.log.count("skipped Inner") == 1
    assert first.stop() == 0
    watch.wait_for(names(), PATIENCE_S)
    bridge(
        sites.a, "--export", "_inner._tcp", "--key", "inner", "--allow-private", "--bootstrap", f"{sites.b.ipv4}:27183"
    )
    watch.wait_for(names("Inner", "Outer"), PATIENCE_S)
    assert ("Inner", "192.168.7.7") in {(service.instance, service.address) for service in watch.services()}


def test_a_service_is_found_by_its_name_and_by_each_key(sites: TwoSites) -> None:
    bridge(sites.a, "--export", "_keys._tcp", "--key", "Joe's Office", "--key", "second")
    sites.avahi_a.publish("Joe's Music", "_keys._tcp", 5)
    watch = sites.avahi_b.watch("_keys._tcp")
    entry = ("--bootstrap", sites.entry)
    wrong = bridge(sites.b, "--import", "--key", "third", *entry)
    right = [bridge(sites.b, "--import", "--key", key, *entry) for key in ("joes office", "SECOND!", "joesmusic")]
    several = bridge(sites.b, "--import", "--key", "third", "--key", "second", "--key", "joesmusic", *entry)
    for importer in (*right, several):  # one of them shows it, the others stand by
        wait_line(importer, "Joe's Music")
    watch.wait_for(names("Joe's Music"), PATIENCE_S)
    assert "Joe's Music" not in wrong.log


def test_without_a_key_the_instance_name_is_the_key(sites: TwoSites) -> None:
    bridge(sites.a, "--export", "_alone._tcp")
    sites.avahi_a.publish("Scanner 12", "_alone._tcp", 5)
    bridge(sites.b, "--import", "--key", "scanner12", "--bootstrap", sites.entry)
    watch = sites.avahi_b.watch("_alone._tcp")
    watch.wait_for(names("Scanner 12"), PATIENCE_S)
