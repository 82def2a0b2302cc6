"""Beside a SIP server: sees whose keep-alives reach it, and has nodes on the way to them answer in its place."""

import logging
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Final, Literal

import msgspec
import trio

from netserv.apps.keep_alive.keep_alive import is_keep_alive
from netserv.errors import NetservError
from netserv.modules.manifest import Manifest
from netserv.publisher.deploying import GOODBYE_S, Deployment
from netserv.publisher.keep_alives.agents import Agents, Config, Deploy, Effect, Look, Remove, State
from netserv.publisher.keep_alives.sniffing import Datagram, Sniffer
from netserv.publisher.wishes import Wish, remove_of
from netserv.signaling.asking import flow_to
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.nslp.responses import StackEntry
from netserv.signaling.nslp.values import Flow, ModuleRef
from netserv.signaling.sessions import Session

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
INSTALL_S: Final = 30.0
AT_A_TIME: Final = 16
"Deployments under way: each has up to 64 nodes fetch the bundle from this machine."
OTHERS_MAX: Final = 64
_ANSWERED: Final = "changed"
"What nodes call packets in whose place an answer went."


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened to one user agent."""

    event: Literal["installed", "failed", "removed"]
    agent: str
    nodes: tuple[str, ...] = ()
    "That run the module for it, the nearest to this machine first."
    took_s: float | None = None
    "From its first keep-alive until they all did."
    why: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is deployed."""

    manifest: Manifest
    data: bytes
    url: Callable[[str], str]
    "Where nodes find the bundle, by this machine's address towards them."
    wish: Wish
    address: str | None = None
    """Of the server; None: that to which the first keep-alive comes. There is one, as a module has one destination for
    its packets: for another address of the server there has to be another publisher's name."""
    prove: Callable[[ModuleRef, str], None] | None = None


class Watcher:
    """Watches until cancelled, and then removes what it has deployed.

    Args:
        plan: what is deployed.
        config: limits.
        along: makes a session of a flow.
        told: is told what has happened.
    """

    def __init__(
        self, plan: Plan, config: Config, along: Callable[[Flow], Session], told: Callable[[Event], None]
    ) -> None:
        self._plan, self._along, self._told = plan, along, told
        self.agents = Agents(config, trio.current_time())
        # Nodes look a one-time password up while a deployment is under way, and there is one place for it.
        self._limiter = trio.CapacityLimiter(AT_A_TIME if plan.prove is None else 1)
        self._orders: dict[str, trio.MemorySendChannel[Effect]] = {}
        self.address = plan.address
        "Of the server, as soon as it is known."
        self._others: set[str] = set()
        "Its other addresses, of which it was said that they are left alone."

    async def run(self, sniffer: Sniffer) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick, nursery)
            await sniffer.run(lambda group: self._take(group, nursery))

    def _take(self, group: Sequence[Datagram], nursery: trio.Nursery) -> None:
        for datagram in group:
            self._seen(datagram, nursery)

    def _seen(self, datagram: Datagram, nursery: trio.Nursery) -> None:
        if not is_keep_alive(datagram.data, (datagram.source, datagram.source_port)):
            return
        if self.address is None:
            self.address = datagram.destination
        if datagram.destination == self.address:
            self._perform(self.agents.seen(datagram.source, trio.current_time()), nursery)
        elif datagram.destination not in self._others and len(self._others) < OTHERS_MAX:
            self._others.add(datagram.destination)
            log.warning(
                "keep-alives come to %s as well; only those to %s are taken care of", datagram.destination, self.address
            )

    async def _tick(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(TICK_S)
            self._perform(self.agents.tick(trio.current_time()), nursery)

    def _perform(self, effects: list[Effect], nursery: trio.Nursery) -> None:
        for effect in effects:
            orders = self._orders.get(effect.address)
            if isinstance(effect, Deploy):
                if orders is None:
                    send, receive = trio.open_memory_channel[Effect](1)
                    self._orders[effect.address] = send
                    nursery.start_soon(self._tend, effect.address, receive)
            elif orders is not None:
                try:
                    orders.send_nowait(effect)
                except trio.WouldBlock:
                    log.debug("%s: still at the order before", effect.address)

    async def _tend(self, address: str, orders: trio.MemoryReceiveChannel[Effect]) -> None:
        """Do what is to be done about one agent, until it is gone."""
        begun, agent = trio.current_time(), _Tended(address)
        try:
            await self._prepare(agent)
            order: Effect = Deploy(address)
            while await self._carry_out(agent, order, begun):
                order = await orders.receive()
        except NetservError as error:
            self.agents.failed(address, trio.current_time())
            self._told(Event(event="failed", agent=address, why=str(error)))
        finally:
            del self._orders[address]
            if agent.nodes:
                with trio.CancelScope(shield=True), trio.move_on_after(GOODBYE_S):
                    await self._take_away(agent, None)

    async def _prepare(self, agent: "_Tended") -> None:
        flow = await flow_to(agent.address)
        plan, agent.path = self._plan, self._along(flow)
        destination = None if self.address is None else ip_network(self.address)
        agent.deployment = Deployment(
            agent.path,
            plan.manifest,
            plan.data,
            url=plan.url(address_text(flow.source)),
            wish=msgspec.structs.replace(plan.wish, filter_dst=destination),
            prove=plan.prove,
        )

    async def _carry_out(self, agent: "_Tended", order: Effect, begun: float) -> bool:
        """Carry out an order; False: there will be no other one."""
        match order:
            case Deploy() | Look():
                before = agent.nodes
                try:
                    agent.nodes = await self._install(agent)
                except NetservError as error:
                    if not before:
                        raise
                    # The module goes on with its time to live; the next look asks again.
                    log.warning("%s: not refreshed: %s", agent.address, error)
                    return True
                now = trio.current_time()
                if agent.nodes and agent.nodes.keys() != before.keys():
                    took_s = None if before else round(now - begun, 3)
                    self._say("installed", agent, took_s)
                elif not agent.nodes:
                    self._told(Event(event="failed", agent=agent.address, why=agent.why()))
                removals = self.agents.looked(agent.address, agent.nodes, now)
                for effect in removals:
                    return await self._carry_out(agent, effect, begun)
                return self.agents.states().get(agent.address) is State.THERE
            case Remove(nodes=nodes):
                await self._take_away(agent, nodes)
                self.agents.removed(agent.address, trio.current_time())
                return False

    async def _install(self, agent: "_Tended") -> Mapping[str, int]:
        """Deploy or refresh; the nodes that run it then, with their counts of answers."""
        if agent.path is None or agent.deployment is None:
            return {}
        async with self._limiter:
            await agent.deployment.install(INSTALL_S, lambda _: None)
            target = agent.deployment.target
            probe = Probe(target=target, items=("status", "load"), user=self._plan.wish.user)
            reply = await agent.path.ask(probe)
        return {entry.node_id: _answered(entry) for entry in reply.response.nearest_first() if entry.code == 200}

    async def _take_away(self, agent: "_Tended", nodes: tuple[str, ...] | None) -> None:
        """Remove it from these nodes; None: from all of its path."""
        if agent.path is None or agent.deployment is None:
            return
        removed, agent.nodes = tuple(agent.nodes) if nodes is None else nodes, {}
        wish = self._plan.wish
        try:
            async with self._limiter:
                for node_id in (None,) if nodes is None else nodes:
                    named = msgspec.structs.replace(wish, node_id=node_id)
                    await agent.path.ask(remove_of(agent.deployment.target, named))
        except NetservError as error:
            log.warning("%s: not removed: %s; it ends with its time to live", agent.address, error)
            return
        self._told(Event(event="removed", agent=agent.address, nodes=removed))

    def _say(self, event: Literal["installed"], agent: "_Tended", took_s: float | None) -> None:
        self._told(Event(event=event, agent=agent.address, nodes=tuple(agent.nodes), took_s=took_s))


class _Tended:
    """What the task of one agent has."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.path: Session | None = None
        self.deployment: Deployment | None = None
        self.nodes: Mapping[str, int] = {}

    def why(self) -> str:
        """Why no node runs it."""
        results = () if self.deployment is None else self.deployment.results
        said = "; ".join(f"{one.node_id}: {one.code} {one.text}" for one in results)
        return said or "no node is on the path"


def _answered(entry: StackEntry) -> int:
    """How many packets a node has answered, as it says in its line `load`."""
    load = dict(part.partition("=")[::2] for part in dict(entry.lines).get("load", "").split(","))
    text = load.get(_ANSWERED, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
