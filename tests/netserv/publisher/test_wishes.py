import hashlib
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from netserv.errors import LocalProtocolError
from netserv.modules.manifest import Manifest
from netserv.publisher.wishes import Wish, probe_of, reference, remove_of, setup_of
from netserv.signaling.nslp.requests import decode, encode

PACKETS = {"filter_ports": (5060,), "filter_proto": "udp"}


def manifest(**changes: Any) -> Manifest:
    values = {"name": "tests.One", "version": "1.0.0", "entry": "main:One", "kind": "packet", "requires": ("sip>=1.0",)}
    return Manifest(**values | changes)


def test_a_setup_says_what_bundle_and_wish_say() -> None:
    wish = Wish(
        user="alice",
        ttl_s=60,
        filter_dst=ip_network("10.1.0.0/24"),
        properties=(("a", "1"),),
        notification="http://10.1.0.2/rpc",
        node_id="r7",
        **PACKETS,
    )
    setup = setup_of(manifest(), b"bundle", "http://10.1.0.2/one.zip", wish)
    assert str(setup.target) == "tests.One_1.0.0"
    assert setup.digest == hashlib.sha256(b"bundle").digest()
    assert [str(one) for one in setup.dependencies] == ["sip>=1.0"]
    assert (setup.ttl_s, setup.filter_ports, setup.properties, setup.node_id) == (60, (5060,), (("a", "1"),), "r7")
    for request in (setup, remove_of(reference(manifest()), wish), probe_of(reference(manifest()), wish)):
        assert (request.user, request.node_id) == ("alice", "r7")
        signed = msgspec.structs.replace(request, signature=bytes(64))
        assert msgspec.structs.replace(decode(encode(signed)), text=b"") == signed


@pytest.mark.parametrize(
    ("kind", "wish", "said"),
    [
        ("packet", {}, "say which packets, with --filter-port and --filter-proto"),
        ("server", PACKETS, "leave --filter-port out"),
        ("both", {"filter_ports": (5060,)}, "go together"),
        ("both", {"filter_proto": "udp"}, "go together"),
        ("both", {"filter_ports": (5060,), "filter_proto": "sctp"}, "is tcp or udp, not sctp"),
        ("both", {"filter_dst": ip_network("10.1.0.0/24")}, "that no --filter-port names"),
    ],
)
def test_what_no_node_would_take_is_told_before_it_is_sent(kind: str, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        setup_of(manifest(kind=kind), b"", "http://10.1.0.2/one.zip", Wish(user="alice", **wish))


@pytest.mark.parametrize(("kind", "wish"), [("server", {}), ("both", {}), ("both", PACKETS), ("packet", PACKETS)])
def test_what_fits_is_sent(kind: str, wish: dict[str, Any]) -> None:
    setup_of(manifest(kind=kind), b"", "http://10.1.0.2/one.zip", Wish(user="alice", **wish))
