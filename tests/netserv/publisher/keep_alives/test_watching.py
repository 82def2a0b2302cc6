"""The shell of the watcher, between a sniffer and a path that tests have in their hands."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from netserv.errors import UnreachableError
from netserv.modules.manifest import read_manifest
from netserv.publisher.app_bundles import app_files
from netserv.publisher.keep_alives import watching
from netserv.publisher.keep_alives.agents import Config, State
from netserv.publisher.keep_alives.sniffing import Datagram
from netserv.publisher.keep_alives.watching import Event, Plan, Watcher
from netserv.publisher.wishes import Wish
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.requests import Probe, Remove, Setup
from netserv.signaling.nslp.responses import StackEntry
from netserv.signaling.nslp.values import Flow

A, B, SERVER = "192.0.2.7", "192.0.2.8", "10.1.0.2"
CONFIG = Config(idle_s=60.0, ttl_s=600)


class World:
    """Nodes by the agent that they are on the way to."""

    def __init__(self) -> None:
        self.paths = {A: ["near", "edge-a"], B: ["near", "edge-b"]}
        self.answered: dict[str, int] = {}
        self.installed: set[str] = set()
        self.refused: dict[str, int] = {}
        self.unreachable = False
        self.asked: list[tuple[str, Any]] = []
        self.events: list[Event] = []
        self.send, self._datagrams = trio.open_memory_channel[list[Datagram]](10)

    async def run(self, take: Callable[[list[Datagram]], None]) -> None:
        """Be the sniffer."""
        async for group in self._datagrams:
            take(group)

    async def keep_alive(self, source: str, data: bytes = bytes(4), to: str = SERVER) -> None:
        await self.send.send([Datagram(source, 5060, to, data)])

    def along(self, flow: Flow) -> Any:
        agent = next(address for address in (A, B, "192.0.2.9") if packed(address) == flow.destination)

        async def ask(request: Any) -> Any:
            await trio.sleep(0.1)
            self.asked.append((agent, request))
            if self.unreachable or agent not in self.paths:
                raise UnreachableError("no NetServ node is on the path")
            entries = tuple(self._entry(node, request) for node in self.paths[agent])
            return SimpleNamespace(response=SimpleNamespace(nearest_first=lambda: entries))

        return SimpleNamespace(flow=flow, ask=ask)

    def _entry(self, node: str, request: Any) -> StackEntry:
        code, lines = self.refused.get(node, 200), []
        match request:
            case Setup() if code == 200:
                self.installed.add(node)
                lines = [("ttl", "600")]
            case Remove(node_id=node_id) if node_id in {None, node}:
                self.installed.discard(node)
            case Probe():
                code = 200 if node in self.installed else 404
                lines = [("load", f"packets=9,changed={self.answered.get(node, 0)}")]
            case _:
                pass
        return StackEntry(node_id=node, address=packed("10.2.0.2"), hops=0, code=code, text="x", lines=tuple(lines))

    def kinds(self, kind: type) -> list[str]:
        return [agent for agent, request in self.asked if isinstance(request, kind)]


@asynccontextmanager
async def watched(
    monkeypatch: pytest.MonkeyPatch, world: World, prove: Callable[..., None] | None = None
) -> AsyncIterator[Watcher]:
    async def flow_to(host: str) -> Flow:
        await trio.lowlevel.checkpoint()
        return Flow(packed("10.1.0.9"), packed(host))

    monkeypatch.setattr(watching, "flow_to", flow_to)
    plan = Plan(
        manifest=read_manifest(app_files("keep-alive")["module.toml"]),
        data=b"bundle",
        url=lambda own: f"http://{own}/bundle.zip",
        wish=Wish(user="alice", filter_ports=(5060,), filter_proto="udp"),
        prove=prove,
    )
    async with trio.open_nursery() as nursery:
        watcher = Watcher(plan, CONFIG, world.along, world.events.append)
        nursery.start_soon(watcher.run, world)
        yield watcher
        nursery.cancel_scope.cancel()


def told(world: World) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(event.event, event.agent, event.nodes) for event in world.events]


async def test_the_module_is_deployed_refreshed_and_removed_at_the_end(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock
) -> None:
    world = World()
    async with watched(monkeypatch, world) as watcher:
        await world.keep_alive(A)
        await world.keep_alive(A, b"INVITE sip:a SIP/2.0")
        await trio.sleep(5.0)
        assert told(world) == [("installed", A, ("near", "edge-a"))]
        assert world.events[0].took_s == 0.2
        setup = world.asked[0][1]
        assert setup.filter_dst == ip_network(SERVER)
        assert setup.url == "http://10.1.0.9/bundle.zip"
        for answered in range(1, 10):
            world.answered["edge-a"] = answered
            await trio.sleep(20.0)
        assert world.kinds(Setup).count(A) >= 8
        assert watcher.agents.states() == {A: State.THERE}
    assert told(world)[1:] == [("removed", A, ("near", "edge-a"))]
    assert world.installed == set()


async def test_who_is_gone_takes_away_only_what_nobody_else_needs(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock
) -> None:
    world = World()
    async with watched(monkeypatch, world):
        await world.keep_alive(A)
        await world.keep_alive(B)
        for answered in range(1, 8):
            world.answered["edge-b"] = answered
            await trio.sleep(15.0)
        assert ("removed", A, ("edge-a",)) in told(world)
        assert world.installed == {"near", "edge-b"}
        await world.keep_alive(A)  # reaches the server again, and brings the module back
        await trio.sleep(5.0)
        assert world.installed == {"near", "edge-a", "edge-b"}


async def test_what_no_node_takes_is_said_with_the_reason_and_not_tried_at_once(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock
) -> None:
    world = World()
    world.refused = {"near": 403, "edge-a": 403}
    async with watched(monkeypatch, world):
        for address in (A, "192.0.2.9"):
            for _ in range(5):
                await world.keep_alive(address)
                await trio.sleep(1.0)
    assert {(event.event, event.agent, event.why) for event in world.events} == {
        ("failed", A, "near: 403 x; edge-a: 403 x"),
        ("failed", "192.0.2.9", "no NetServ node is on the path"),
    }
    assert world.kinds(Setup) == [A, "192.0.2.9"]


async def test_a_path_that_is_silent_for_a_while_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock
) -> None:
    world = World()
    async with watched(monkeypatch, world) as watcher:
        await world.keep_alive(A)
        await trio.sleep(5.0)
        world.unreachable = True
        await trio.sleep(50.0)
        assert watcher.agents.states() == {A: State.THERE}
        world.unreachable = False
        world.answered["edge-a"] = 3
        await trio.sleep(30.0)
        assert watcher.agents.states() == {A: State.THERE}
    assert told(world)[-1][0] == "removed"


async def test_one_address_of_the_server_is_taken_care_of(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    async with watched(monkeypatch, world):
        await world.keep_alive(A)
        for _ in range(3):
            await world.keep_alive(B, to="10.1.0.3")
        await trio.sleep(5.0)
    assert world.kinds(Setup) == [A]
    assert sum("10.1.0.3" in record.getMessage() for record in caplog.records) == 1


async def test_one_time_passwords_are_shown_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, clock: trio.testing.MockClock
) -> None:
    world, shown = World(), []
    async with watched(monkeypatch, world, lambda _module, word: shown.append((word, len(world.asked)))):
        await world.keep_alive(A)
        await world.keep_alive(B)
        await trio.sleep(5.0)
    # The second one is put there when the first deployment has been asked for and looked at.
    assert [asked for _, asked in shown] == [0, 2]
    assert len({word for word, _ in shown}) == 2
