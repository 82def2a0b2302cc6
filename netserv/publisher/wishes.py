"""What a publisher wants of the nodes on a path, and the SETUP that says so."""

import hashlib
from typing import Final

import msgspec

from netserv.errors import LocalProtocolError
from netserv.forwarding.filters import PROTOCOLS, Prefix
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.requests import Probe, Remove, Setup
from netserv.signaling.nslp.values import Around, ModuleRef, Property

TTL_S: Final = 3_600
"An hour: a publisher who vanishes leaves his module behind for so long at most."


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How a module is to be installed."""

    user: str
    ttl_s: int = TTL_S
    filter_ports: tuple[int, ...] = ()
    filter_proto: str | None = None
    filter_dst: Prefix | None = None
    "None: packets to this machine, from which the request goes out."
    properties: tuple[Property, ...] = ()
    notification: str | None = None
    node_id: str | None = None
    around: Around | None = None


def setup_of(manifest: Manifest, data: bytes, url: str, wish: Wish) -> Setup:
    """The SETUP for a bundle.

    Args:
        manifest: of the bundle.
        data: the bundle itself.
        url: where nodes find it.
        wish: how it is to be installed.

    Raises:
        LocalProtocolError: the wish does not fit the module.
    """
    check_wish(manifest, wish)
    return Setup(
        target=reference(manifest),
        ttl_s=wish.ttl_s,
        url=url,
        digest=hashlib.sha256(data).digest(),
        user=wish.user,
        dependencies=manifest.dependencies,
        filter_ports=wish.filter_ports,
        filter_proto=wish.filter_proto,
        filter_dst=wish.filter_dst,
        notification=wish.notification,
        node_id=wish.node_id,
        properties=wish.properties,
        around=wish.around,
    )


def check_wish(manifest: Manifest, wish: Wish) -> None:
    """See before anything is sent that no node would refuse it for what it lacks.

    Raises:
        LocalProtocolError: it lacks something, and the text says what to give.
    """
    if manifest.kind == "packet" and not wish.filter_ports:
        raise LocalProtocolError(
            f"{manifest.reference} is a packet module: say which packets, with --filter-port and --filter-proto"
        )
    if manifest.kind == "server" and wish.filter_ports:
        raise LocalProtocolError(f"{manifest.reference} is a server module, without packets: leave --filter-port out")
    if bool(wish.filter_ports) != (wish.filter_proto is not None):
        raise LocalProtocolError("--filter-port and --filter-proto go together")
    if wish.filter_proto is not None and wish.filter_proto not in PROTOCOLS:
        raise LocalProtocolError(f"--filter-proto is {' or '.join(sorted(PROTOCOLS))}, not {wish.filter_proto}")
    if wish.filter_dst is not None and not wish.filter_ports:
        raise LocalProtocolError("--filter-dst says where packets go that no --filter-port names")


def remove_of(target: ModuleRef, wish: Wish) -> Remove:
    """The REMOVE for a module."""
    return Remove(
        target=target, user=wish.user, notification=wish.notification, node_id=wish.node_id, around=wish.around
    )


def probe_of(target: ModuleRef, wish: Wish) -> Probe:
    """The PROBE that asks how far a module is."""
    return Probe(target=target, items=("status",), user=wish.user, node_id=wish.node_id, around=wish.around)


def reference(manifest: Manifest) -> ModuleRef:
    """How requests name a module."""
    return ModuleRef(manifest.name, manifest.version)
