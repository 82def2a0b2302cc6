"""The signalling daemon of a network namespace: everything that a node has, opened in order and closed in reverse."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
import trio

from netserv.errors import LocalProtocolError, UnreachableError
from netserv.signaling.control import control_socket, only_daemon
from netserv.signaling.control_messages import Answer, Ask
from netserv.signaling.daemon_config import DaemonConfig
from netserv.signaling.daemon_parts import Files, Machine, Nodes, make_nodes, open_machine, read_files
from netserv.signaling.driver import Driver, driving
from netserv.signaling.facts import node_facts
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.handler import DaemonHandler, RecordingHandler
from netserv.signaling.node_state import NodeState, node_state
from netserv.signaling.nslp import responses
from netserv.signaling.status import Status

log = logging.getLogger(__name__)

FACTS_S: Final = 5.0
"Between two looks at addresses, interfaces and load; a probe tells what was true so long ago."
SHOWN_MAX: Final = 1_000
"Publishers named in a status."


class Daemon:
    """A running daemon; made by `open_daemon`.

    Args:
        config: settings.
        state: who the node is.
        machine: what it has of its machine.
        nodes: GIST and NSLP.
        handler: answers requests; is told what changes.
        driver: runs the nodes.
    """

    def __init__(
        self,
        config: DaemonConfig,
        state: NodeState,
        machine: Machine,
        nodes: Nodes,
        handler: DaemonHandler,
        driver: Driver,
    ) -> None:
        self._config, self._state = config, state
        self._machine, self._nodes = machine, nodes
        self._handler, self._driver = handler, driver
        self._begun = trio.current_time()

    async def ask(self, request: Ask) -> Answer:
        """Send a request of this machine and wait for the answer of its path.

        Raises:
            NetservError: it is no request, nobody is on the path, or no answer came.
        """
        source = request.source
        if source is None:
            way = self._machine.topology.outgoing(request.destination)
            if way is None:
                raise UnreachableError(f"no route to {address_text(request.destination)}")
            source = way.address
        elif not self._machine.topology.is_own(source):
            raise LocalProtocolError(f"{address_text(source)} is no address of this machine")
        begun = trio.current_time()
        response = await self._driver.ask(
            request.text,
            source=source,
            destination=request.destination,
            reliable=request.reliable,
            timeout_s=request.timeout_s,
            sid=request.sid,
        )
        return Answer(text=responses.encode(response), elapsed_s=trio.current_time() - begun)

    def reread(self) -> None:
        """Read the files again; what they forbid ends.

        Raises:
            LocalProtocolError: one cannot be read; nothing is changed.
        """
        self.take(read_files(self._config))
        log.info("read again: %d publishers", len(self._handler.users))

    def take(self, files: Files) -> None:
        """Let publishers and authorised peers be these from now on."""
        self._handler.take(files.publishers)
        self._driver.associations.authorise(files.peers)

    async def keep_facts(self) -> None:
        """Look at this machine from time to time, for probes."""
        while True:
            self._handler.look(node_facts(trio.current_time() - self._begun))
            await trio.sleep(FACTS_S)

    def status(self) -> Status:
        """How it stands."""
        now = trio.current_time()
        machine, settings = self._machine, self._nodes.settings
        gist = self._nodes.gist.status(now)
        details = msgspec.to_builtins(gist)
        del details["counters"], details["identity"]  # which have a place of their own
        return Status(
            node_id=self._state.node_id,
            identity=self._nodes.identity.hex(),
            pid=os.getpid(),
            uptime_s=now - self._begun,
            profile=self._config.profile,
            catching="none" if machine.interceptor is None else machine.interceptor.name,
            port=machine.port.port,
            association_port=settings.association_port,
            secure_port=settings.secure_port,
            addresses=tuple(sorted(map(address_text, machine.topology.own_addresses))),
            publishers=self._handler.users[:SHOWN_MAX],
            public_probes=self._config.public_probes,
            asking=self._driver.asking,
            associations=len(self._driver.associations),
            sessions=sum(gist.sessions.values()),
            peers=len(gist.peers),
            counters=self._counters(),
            node=self._handler.described(),
            gist=details,
        )

    def _counters(self) -> dict[str, dict[str, int]]:
        counters: dict[str, dict[str, int]] = {
            "gist": msgspec.to_builtins(self._nodes.gist.counters),
            "nslp": msgspec.to_builtins(self._nodes.nslp.counters),
            "udp": dict(self._machine.port.counters),
            "associations": dict(self._driver.associations.counters),
            "driver": dict(self._driver.counters),
            **self._handler.counters(),
        }
        if self._machine.interceptor is not None:
            counters[self._machine.interceptor.name] = dict(self._machine.interceptor.counters)
        return counters


@asynccontextmanager
async def open_daemon(
    config: DaemonConfig, handler: DaemonHandler | None = None, state: NodeState | None = None
) -> AsyncIterator[Daemon]:
    """Run a daemon while the context lasts.

    Args:
        config: settings.
        handler: of requests; None: one that records them, and runs no modules.
        state: of the node, where the caller has opened it.

    Raises:
        NetservError: it cannot begin; the text names the remedy.
    """
    async with AsyncExitStack() as opened:
        opened.enter_context(only_daemon())
        state = state or opened.enter_context(node_state(config.state_dir, config.node_id))
        files = read_files(config)
        machine = await open_machine(config, state, opened)
        handler = handler or RecordingHandler(files.publishers)
        nodes = make_nodes(config, state, machine, handler)
        driver = await opened.enter_async_context(
            driving(
                nodes.gist,
                nodes.nslp,
                machine.port,
                machine.interceptor,
                topology=machine.topology,
                interfaces=machine.interfaces,
                tls=machine.tls,
            )
        )
        daemon = Daemon(config, state, machine, nodes, handler, driver)
        daemon.take(files)
        for listeners, is_secure in ((machine.plain, False), (machine.secure, True)):
            if listeners:
                driver.associations.accept(listeners, secure=is_secure)
        await opened.enter_async_context(control_socket(daemon, config.control))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.keep_facts)
            yield daemon
            nursery.cancel_scope.cancel()
