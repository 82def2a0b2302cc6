"""A NetServ node: signalling, controller, containers and packet path, opened in order and closed in reverse."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import trio

from netserv.advertised import advertised
from netserv.container.supervisor import Supervisor, supervising
from netserv.container.supervisor_config import SupervisorConfig
from netserv.controller.config import NodeConfig
from netserv.controller.controller import Controller
from netserv.controller.handler import ControllerHandler
from netserv.controller.http_process import HttpProcesses
from netserv.controller.journal import Clock, Journal
from netserv.controller.notification import Notifier
from netserv.controller.performing import Performer
from netserv.controller.spool import Spool
from netserv.controller.states import State
from netserv.forwarding.base import PlaneConfig
from netserv.forwarding.choice import choose_plane
from netserv.forwarding.plane import BrokerPlane
from netserv.index_search import IndexSearch
from netserv.modules.bundle import open_bundle
from netserv.place import Place
from netserv.signaling.daemon import Daemon, open_daemon
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.node_state import node_state
from netserv.signaling.transport.topology import KernelTopology

log = logging.getLogger(__name__)

FACTS_S: Final = 1.0
"Between two looks at containers and packet path: a PROBE tells what was true so long ago."
KEEP_WARM_S: Final = 60.0
"A publisher who comes back within a minute finds his container."


class Node:
    """A running node; made by `open_node`.

    Args:
        config: settings.
        controller: decides.
        performer: does it.
        place: where modules run.
        supervisor: of containers.
        plane: of packets.
    """

    def __init__(
        self,
        config: NodeConfig,
        controller: Controller,
        performer: Performer,
        place: Place,
        supervisor: Supervisor,
        plane: BrokerPlane,
    ) -> None:
        self.config = config
        self._controller, self._performer = controller, performer
        self._place, self._supervisor, self.plane = place, supervisor, plane
        self.daemon: Daemon
        "Of its signalling."

    def change(self, config: NodeConfig) -> None:
        """Take other rules for publishers; what they forbid ends. Other settings count from the next start."""
        self.config = config
        self._performer.perform(self._controller.change_policy(config.policy, trio.current_time()))

    def active(self) -> tuple[tuple[str, str], ...]:
        """Name and version of each module that is active."""
        running = [slot.running for slot in self._controller.lifecycle.slots.values() if slot.running is not None]
        targets = [job.wanted.setup.target for job in running if job.state is State.ACTIVE]
        return tuple((target.name, target.version) for target in targets)

    def described(self) -> dict[str, Any]:
        """Containers and packet path, for a status."""
        return {
            "plane": self.plane.name,
            "warnings": list(self.plane.warnings),
            "containers": [msgspec.to_builtins(one) for one in self._supervisor.status()],
            "placed": self._place.described(),
            "journal_failures": self._performer.counters["journal_failures"],
        }

    async def keep_facts(self) -> None:
        """Have newer facts of modules for PROBEs, until cancelled."""
        while True:
            self._controller.module_facts = self._place.facts()
            await trio.sleep(FACTS_S)


@asynccontextmanager
async def open_node(config: NodeConfig) -> AsyncIterator[Node]:
    """Run a node while the context lasts; afterwards nothing of it is left but its state directory.

    Raises:
        NetservError: it cannot begin; the text names the remedy.
    """
    async with AsyncExitStack() as opened:
        state = opened.enter_context(node_state(config.daemon.state_dir, config.daemon.node_id))
        topology = opened.enter_context(KernelTopology())
        journal = opened.enter_context(Journal.open(state.directory / "journal.sqlite", Clock.read()))
        http = HttpProcesses(config.http, lambda: map(address_text, topology.own_addresses))
        plane = await choose_plane(config.plane, PlaneConfig(deadline_s=config.packet_deadline_s))
        await opened.enter_async_context(plane)
        for warning in plane.warnings:
            log.warning("%s", warning)
        supervisor = await opened.enter_async_context(
            supervising(
                SupervisorConfig(keep_warm_s=KEEP_WARM_S, publishers_max=config.policy.caps.containers_max),
                lambda data: open_bundle(data).files,
            )
        )
        controller = Controller(config.policy, trio.current_time())
        place = Place(supervisor, plane)
        search = IndexSearch(lambda: controller.policy.dependencies)
        performer = Performer(
            controller,
            journal=journal,
            spool=Spool(state.directory / "bundles"),
            http=http,
            notifier=Notifier(http, state.node_id),
            place=place,
            locator=search,
        )
        node = Node(config, controller, performer, place, supervisor, plane)
        handler = ControllerHandler(
            controller,
            performer.perform,
            clock=trio.current_time,
            beside=node.described,
            capabilities=(f"plane-{plane.name}",),
        )
        nursery = await opened.enter_async_context(trio.open_nursery())
        opened.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(http.keep_ready)
        nursery.start_soon(place.watch, performer.died)
        nursery.start_soon(place.look)
        nursery.start_soon(node.keep_facts)
        await nursery.start(performer.run)
        node.daemon = await opened.enter_async_context(open_daemon(config.daemon, handler, state))
        search.use(await opened.enter_async_context(advertised(config.discovery, config.policy, state, node.active)))
        yield node
