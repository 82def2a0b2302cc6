"""The signalling daemon of a network namespace: everything that a node has, opened in order and closed in reverse."""

import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import SystemRandom
from typing import Final

import msgspec
import trio

from netserv.errors import LocalProtocolError, UnreachableError
from netserv.signaling.control import control_socket, only_daemon
from netserv.signaling.control_messages import Answer, Ask
from netserv.signaling.daemon_config import DaemonConfig
from netserv.signaling.driver import Driver, driving
from netserv.signaling.facts import node_facts
from netserv.signaling.gist.addresses import PackedAddress, address_text
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.node import GistNode
from netserv.signaling.handler import RecordingHandler
from netserv.signaling.key_files import load_publishers
from netserv.signaling.node_state import NodeState, node_state
from netserv.signaling.nslp import responses
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.profiles import IDENTITY_BYTES, gist_config, nslp_config
from netserv.signaling.status import Status
from netserv.signaling.transport.authorised_peers import EVERYBODY, AuthorisedPeers, authorised_peers
from netserv.signaling.transport.choice import Method, intercepting
from netserv.signaling.transport.intercept import InterceptConfig, Interceptor
from netserv.signaling.transport.listeners import open_listeners, port_of
from netserv.signaling.transport.tls import TlsContexts, TlsFiles, contexts
from netserv.signaling.transport.topology import KernelTopology
from netserv.signaling.transport.udp import UdpPort

log = logging.getLogger(__name__)

FACTS_S: Final = 5.0
"Between two looks at addresses, interfaces and load; a probe tells what was true so long ago."
PEERS_FILE_MAX: Final = 1 << 20
"Bytes: as many authorised peers as there may be, each on a line."
SHOWN_MAX: Final = 1_000
"Publishers, sessions and the like in a status; their numbers are told whole."


class Files(msgspec.Struct, frozen=True):
    """What an administrator changes while the daemon runs."""

    publishers: Publishers
    peers: AuthorisedPeers


class Daemon:
    """A running daemon; made by `open_daemon`."""

    def __init__(
        self,
        config: DaemonConfig,
        state: NodeState,
        handler: RecordingHandler,
        *,
        gist: GistNode,
        nslp: NslpNode,
        driver: Driver,
        port: UdpPort,
        topology: KernelTopology,
        interceptor: Interceptor | None,
        settings: GistConfig,
        identity: bytes,
    ) -> None:
        self._config, self._state, self._handler = config, state, handler
        self._gist, self._nslp, self._driver = gist, nslp, driver
        self._port, self._topology, self._interceptor = port, topology, interceptor
        self._settings, self._identity = settings, identity
        self._publishers: Publishers = Publishers()
        self._begun = trio.current_time()

    async def ask(self, request: Ask) -> Answer:
        """Send a request of this machine and wait for the answer of its path.

        Raises:
            NetservError: it is no request, nobody is on the path, or no answer came.
        """
        source = request.source
        if source is None:
            way = self._topology.outgoing(request.destination)
            if way is None:
                raise UnreachableError(f"no route to {address_text(request.destination)}")
            source = way.address
        elif not self._topology.is_own(source):
            raise LocalProtocolError(f"{address_text(source)} is no address of this machine")
        begun = trio.current_time()
        response = await self._driver.ask(
            request.text,
            source=source,
            destination=request.destination,
            reliable=request.reliable,
            timeout_s=request.timeout_s,
        )
        return Answer(text=responses.encode(response), elapsed_s=trio.current_time() - begun)

    def reread(self) -> None:
        """Read the files again; what they forbid ends.

        Raises:
            LocalProtocolError: one cannot be read; nothing is changed.
        """
        self.take(read_files(self._config))
        log.info("read again: %d publishers", len(self._publishers.keys))

    def take(self, files: Files) -> None:
        """Let publishers and authorised peers be these from now on."""
        self._publishers = self._handler.publishers = files.publishers
        self._driver.associations.authorise(files.peers)

    async def keep_facts(self) -> None:
        """Look at this machine from time to time, for probes."""
        while True:
            self._handler.facts = node_facts(trio.current_time() - self._begun)
            await trio.sleep(FACTS_S)

    def status(self) -> Status:
        """How it stands."""
        now = trio.current_time()
        gist = self._gist.status(now)
        details = msgspec.to_builtins(gist)
        del details["counters"], details["identity"]  # which have a place of their own
        counters = {
            "gist": msgspec.to_builtins(self._gist.counters),
            "nslp": msgspec.to_builtins(self._nslp.counters),
            "udp": dict(self._port.counters),
            "associations": dict(self._driver.associations.counters),
            "driver": dict(self._driver.counters),
        }
        if self._interceptor is not None:
            counters[self._interceptor.name] = dict(self._interceptor.counters)
        return Status(
            node_id=self._state.node_id,
            identity=self._identity.hex(),
            pid=os.getpid(),
            uptime_s=now - self._begun,
            profile=self._config.profile,
            catching="none" if self._interceptor is None else self._interceptor.name,
            port=self._port.port,
            association_port=self._settings.association_port,
            secure_port=self._settings.secure_port,
            addresses=tuple(sorted(address_text(address) for address in self._topology.own_addresses)),
            publishers=tuple(sorted(self._publishers.keys)[:SHOWN_MAX]),
            public_probes=self._config.public_probes,
            asking=self._driver.asking,
            associations=len(self._driver.associations),
            sessions=sum(gist.sessions.values()),
            peers=len(gist.peers),
            counters=counters,
            gist={
                name: value for name, value in msgspec.to_builtins(gist).items() if name not in {"counters", "identity"}
            },
        )


@asynccontextmanager
async def open_daemon(config: DaemonConfig) -> AsyncIterator[Daemon]:
    """Run a daemon while the context lasts.

    Raises:
        NetservError: it cannot begin; the text names the remedy.
    """
    async with AsyncExitStack() as opened:
        opened.enter_context(only_daemon())
        state = opened.enter_context(node_state(config.state_dir, config.node_id))
        files = read_files(config)
        tls = _tls(config, state)
        interfaces = frozenset(_index(name) for name in config.interfaces)
        topology = opened.enter_context(KernelTopology())
        port = opened.enter_context(UdpPort(config.port, flow_source=config.profile == "rfc"))
        interceptor = await _interceptor(config, port, opened)
        plain = [] if config.tls_only else await _listen(config.port, opened)
        secure = await _listen(config.tls_port, opened) if tls is not None else []
        settings = msgspec.structs.replace(
            gist_config(config.profile),
            port=port.port,
            association_port=port_of(plain) if plain else None,
            offer_secure=bool(secure),
            secure_port=port_of(secure) if secure else None,
        )
        rng = SystemRandom()
        identity = rng.randbytes(IDENTITY_BYTES)
        handler = RecordingHandler(files.publishers)
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
        )
        gist = GistNode(
            config=settings,
            identity=identity,
            topology=topology,
            applications={NSLP_NETSERV: nslp},
            rng=rng,
            now=trio.current_time(),
        )
        driver = await opened.enter_async_context(
            driving(gist, nslp, port, interceptor, topology=topology, interfaces=interfaces, tls=tls)
        )
        daemon = Daemon(
            config,
            state,
            handler,
            gist=gist,
            nslp=nslp,
            driver=driver,
            port=port,
            topology=topology,
            interceptor=interceptor,
            settings=settings,
            identity=identity,
        )
        daemon.take(files)
        for listeners, is_secure in ((plain, False), (secure, True)):
            if listeners:
                driver.associations.accept(listeners, secure=is_secure)
        await opened.enter_async_context(control_socket(daemon, config.control))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.keep_facts)
            yield daemon
            nursery.cancel_scope.cancel()


def read_files(config: DaemonConfig) -> Files:
    """Read what the settings name.

    Raises:
        LocalProtocolError: a file cannot be read, or holds something else.
    """
    publishers = Publishers() if config.publishers is None else load_publishers(config.publishers)
    if config.authorised_peers is None:
        return Files(publishers, EVERYBODY)
    try:
        with config.authorised_peers.open(encoding="utf-8") as file:
            text = file.read(PEERS_FILE_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise LocalProtocolError(f"authorised peers {config.authorised_peers}: {reason}") from error
    if len(text) > PEERS_FILE_MAX:
        raise LocalProtocolError(f"authorised peers {config.authorised_peers}: more than {PEERS_FILE_MAX} bytes")
    return Files(publishers, authorised_peers(text))


def _own_towards(topology: KernelTopology, host: PackedAddress) -> PackedAddress | None:
    way = topology.outgoing(host)
    return None if way is None else way.address


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
