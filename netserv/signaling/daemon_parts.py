"""What a daemon is made of: what it takes of the machine, the files of its administrator, and its two nodes."""

import logging
import socket
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NamedTuple

import msgspec
import trio

from netserv.errors import LocalProtocolError
from netserv.signaling.chance import BlockwiseRandom
from netserv.signaling.daemon_config import DaemonConfig
from netserv.signaling.gist.addresses import PackedAddress, address_text
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.node import GistNode
from netserv.signaling.key_files import load_publishers
from netserv.signaling.node_state import NodeState
from netserv.signaling.nslp.handling import Handler
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.profiles import IDENTITY_BYTES, gist_config, nslp_config
from netserv.signaling.transport.authorised_peers import EVERYBODY, AuthorisedPeers, authorised_peers
from netserv.signaling.transport.choice import Method, intercepting
from netserv.signaling.transport.intercept import InterceptConfig, Interceptor
from netserv.signaling.transport.listeners import open_listeners, port_of
from netserv.signaling.transport.tls import TlsContexts, TlsFiles, contexts
from netserv.signaling.transport.topology import KernelTopology
from netserv.signaling.transport.udp import UdpPort

log = logging.getLogger(__name__)

PEERS_FILE_MAX: Final = 1 << 20
"Bytes: as many authorised peers as there may be, each on a line."


class Files(msgspec.Struct, frozen=True):
    """What an administrator changes while the daemon runs."""

    publishers: Publishers
    peers: AuthorisedPeers


class Machine(NamedTuple):
    """What the daemon has of its machine."""

    topology: KernelTopology
    port: UdpPort
    interceptor: Interceptor | None
    plain: list[trio.SocketListener]
    "Of TCP associations; none: there are only secure ones."
    secure: list[trio.SocketListener]
    tls: TlsContexts | None
    interfaces: frozenset[int]
    "Whose packets in transit are treated; none: all."


class Nodes(NamedTuple):
    """The two nodes without I/O, and what they were made with."""

    settings: GistConfig
    identity: bytes
    gist: GistNode
    nslp: NslpNode


def read_files(config: DaemonConfig) -> Files:
    """Read what the settings name.

    Raises:
        LocalProtocolError: a file cannot be read, or holds something else.
    """
    publishers = Publishers() if config.publishers is None else load_publishers(config.publishers)
    path = config.authorised_peers
    if path is None:
        return Files(publishers, EVERYBODY)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(PEERS_FILE_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise LocalProtocolError(f"authorised peers {path}: {reason}") from error
    if len(text) > PEERS_FILE_MAX:
        raise LocalProtocolError(f"authorised peers {path}: more than {PEERS_FILE_MAX} bytes")
    return Files(publishers, authorised_peers(text))


async def open_machine(config: DaemonConfig, state: NodeState, opened: AsyncExitStack) -> Machine:
    """Take the ports, and begin to catch; `opened` gives all of it back.

    Raises:
        NetservError: the machine does not give something; the text names the remedy.
    """
    tls = _tls(config, state)
    interfaces = frozenset(_index(name) for name in config.interfaces)
    topology = opened.enter_context(KernelTopology())
    # With the flow's source as in RFC 5971, which needs a socket that may send in the name of others.
    port = opened.enter_context(UdpPort(config.port, flow_source=config.profile == "rfc"))
    return Machine(
        topology=topology,
        port=port,
        plain=[] if config.tls_only else await _listen(config.port, opened),
        secure=[] if tls is None else await _listen(config.tls_port, opened),
        # Last, as from now on packets of others depend on this program.
        interceptor=await _interceptor(config, port, opened),
        tls=tls,
        interfaces=interfaces,
    )


def make_nodes(config: DaemonConfig, state: NodeState, machine: Machine, handler: Handler) -> Nodes:
    """The nodes, for that machine."""
    settings = msgspec.structs.replace(
        gist_config(config.profile),
        port=machine.port.port,
        validity_s=config.validity_s,
        association_port=port_of(machine.plain) if machine.plain else None,
        offer_secure=bool(machine.secure),
        secure_port=port_of(machine.secure) if machine.secure else None,
    )
    rng, topology = BlockwiseRandom(), machine.topology
    nslp = NslpNode(
        config=nslp_config(
            config.profile,
            public_probes=config.public_probes,
            thesis_mode=config.thesis_mode,
            secure=config.tls_only,
        ),
        node_id=state.node_id,
        addresses=lambda: sorted(map(address_text, topology.own_addresses)),
        handler=handler,
        rng=rng,
        unix_time=time.time,
        key=state.key if config.sign_entries else None,
        towards=partial(_own_towards, topology),
        neighbours=lambda: config.neighbours,
        hops_to=partial(_hops_to, topology),
    )
    identity = rng.randbytes(IDENTITY_BYTES)
    gist = GistNode(
        config=settings,
        identity=identity,
        topology=topology,
        applications={NSLP_NETSERV: nslp},
        rng=rng,
        now=trio.current_time(),
    )
    return Nodes(settings, identity, gist, nslp)


def _own_towards(topology: KernelTopology, host: PackedAddress) -> PackedAddress | None:
    way = topology.outgoing(host)
    return None if way is None else way.address


def _hops_to(topology: KernelTopology, host: PackedAddress) -> int:
    """1 on a link of this machine, else 2: how many routers are behind the next one the kernel does not know."""
    way = topology.outgoing(host)
    return 1 if way is not None and way.next_hop is None else 2


def _tls(config: DaemonConfig, state: NodeState) -> TlsContexts | None:
    if not config.tls:
        return None
    return contexts(
        TlsFiles(
            certificate=config.tls_certificate or state.certificate,
            key=config.tls_key or state.key_file,
            authorities=config.tls_authorities,
            clients_must_show=config.tls_clients_must_show,
        )
    )


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        names = ", ".join(name for _number, name in socket.if_nameindex())
        raise LocalProtocolError(f"no interface {interface!r}; there are: {names}") from error


async def _interceptor(config: DaemonConfig, port: UdpPort, opened: AsyncExitStack) -> Interceptor | None:
    if config.catching == "none":
        return None
    interceptor = await opened.enter_async_context(
        intercepting(Method(config.catching), InterceptConfig(nslp_ids=(NSLP_NETSERV,)), port)
    )
    for warning in interceptor.warnings:
        log.warning("%s", warning)
    return interceptor


async def _listen(port: int, opened: AsyncExitStack) -> list[trio.SocketListener]:
    listeners = await open_listeners(port)
    for listener in listeners:
        opened.push_async_callback(trio.aclose_forcefully, listener)
    return listeners
