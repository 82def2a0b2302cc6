"""What is announced on a link; real links are in the laboratories."""

from ipaddress import ip_address

import pytest

from netserv_discovery import link_io
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.link_io import (
    LINKS_MAX,
    Announcement,
    link_addresses,
    service_item,
    usable_interfaces,
)
from netserv_discovery.link_text import SERVICE_TYPE

ADDRESSES = (ip_address("192.0.2.1"),)
PLAIN = Announcement(instance="node-a", host_label=b"netserv-0011", port=270, ttl_s=60)


def test_an_announcement_is_an_ordinary_service() -> None:
    item = service_item(PLAIN, ADDRESSES)
    assert (item.instance, item.service_type, item.port, item.host) == (b"node-a", SERVICE_TYPE, 270, b"netserv-0011")
    assert item.txt == b"\0"


def test_where_a_name_is_taken_the_next_one_fits_a_label() -> None:
    long = Announcement(instance="ä" * 31 + "x", host_label=b"h", port=1, ttl_s=60)
    assert service_item(PLAIN, ADDRESSES, number=2).instance == b"node-a (2)"
    name = service_item(long, ADDRESSES, number=10).instance
    assert len(name) <= 63
    assert name.decode().endswith("ä (10)")


def test_interfaces_are_those_that_are_named_or_all_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_interfaces(["eth0", "eth1", "eth0"]) == ("eth0", "eth1")
    monkeypatch.setattr(link_io.netifaces_io, "interfaces", lambda: ("lo", "up", "down"))
    monkeypatch.setattr(link_io.netifaces_io, "is_up", lambda name: name != "down")
    monkeypatch.setattr(link_io, "link_addresses", lambda name: () if name == "lo" else ADDRESSES)
    assert usable_interfaces([]) == ("up",)
    monkeypatch.setattr(link_io.netifaces_io, "interfaces", lambda: ("lo",))
    with pytest.raises(LocalProtocolError, match="--no-link"):
        usable_interfaces([])
    with pytest.raises(LocalProtocolError, match="at most 16"):
        usable_interfaces([f"eth{number}" for number in range(LINKS_MAX + 1)])


def test_loopback_has_no_address_for_others() -> None:
    assert link_addresses("lo") == ()
    assert link_addresses("no-such-interface") == ()
