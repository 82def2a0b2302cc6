"""The shell around the core: downloads from real servers, a real journal, and containers that do as they are told."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio

from netserv.container.installation import Installation
from netserv.controller.controller import Controller
from netserv.controller.effects import Effect, Locate, Located
from netserv.controller.handler import ControllerHandler
from netserv.controller.http_process import HttpProcesses, HttpRules
from netserv.controller.journal import Clock, Journal
from netserv.controller.notification import Notifier
from netserv.controller.performing import Performer
from netserv.controller.spool import Spool
from netserv.controller.states import State
from netserv.errors import NetservError, SystemRefusedError, UnreachableError
from netserv.modules.bundle import build_bundle
from netserv.signaling.nslp.codes import NslpError
from tests.netserv.controller.strange_servers import Server, response, serving
from tests.netserv.controller.test_dependencies import CAROL, RULES, located
from tests.netserv.controller.wishes import ALICE, BOB, MONITOR, PASSWORD, arrival, policy, probe, remove, setup

LOOPBACK = HttpRules(allow=(ip_network("127.0.0.0/8"),), deadline_s=5.0, quiet_s=2.0)
TOML = b"""\
name = "NetServ.apps.NetMonitor"
version = "1.0.0"
kind = "both"
entry = "monitor:Activator"
requires = ["dispatcher>=1.0", "timers"]
"""
SOURCES = {"module.toml": TOML, "monitor.py": b"class Activator: ..."}
BUNDLE = build_bundle(SOURCES, ALICE)
DIGEST = hashlib.sha256(BUNDLE).digest()


def forged(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A server's answer with another bundle, and the request that names its digest."""
    return response(data), {"digest": hashlib.sha256(data).digest()}


KEY = ("alice", MONITOR.name)


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10.0):
        while not condition():  # noqa: ASYNC110 - what other processes do sets no event
            await trio.sleep(0.01)


class Containers:
    """Where modules run; refuses or hangs when told to."""

    def __init__(self) -> None:
        self.running: dict[int, Installation] = {}
        self.error: NetservError | None = None
        self.gate = trio.Event()
        self.gate.set()

    async def install(self, job: int, installation: Installation) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.running[job] = installation

    async def uninstall(self, job: int) -> None:
        await trio.lowlevel.checkpoint()
        self.running.pop(job, None)


class Index:
    """What the index says; it is told so."""

    def __init__(self) -> None:
        self.found: dict[str, Located] = {}
        self.asked: list[Locate] = []

    async def locate(self, effect: Locate) -> Located:
        self.asked.append(effect)
        await trio.lowlevel.checkpoint()
        found = self.found.get(effect.dependency.name)
        if found is None:
            raise UnreachableError("the index has no bundle of it")
        return found


class Node:
    """All of it, but for signalling."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.containers, self.index = Containers(), Index()
        self.controller = Controller(policy(**changes), trio.current_time())
        self.journal = Journal.open(directory / "journal", Clock.read())
        http = HttpProcesses(LOOPBACK)
        self.notifier = Notifier(http, "router7")
        self.performer = Performer(
            self.controller,
            journal=self.journal,
            spool=Spool(directory / "bundles"),
            http=http,
            notifier=self.notifier,
            place=self.containers,
            locator=self.index,
        )
        self.handler = ControllerHandler(self.controller, self.performer.perform, clock=trio.current_time)

    def ask(self, request: Any) -> int:
        try:
            return self.handler.handle(request, arrival(request), trio.current_time()).code
        except NslpError as error:
            return error.code

    async def until(self, state: State | None) -> None:
        await eventually(lambda: self.state() is state)

    def state(self) -> State | None:
        slot = self.controller.lifecycle.slots.get(KEY)
        return None if slot is None else next(slot.jobs()).state

    def recorded(self) -> int:
        (count,) = self.journal._database.execute("SELECT count(*) FROM modules").fetchone()
        return int(count)


@asynccontextmanager
async def running(directory: Path, **changes: Any) -> AsyncIterator[Node]:
    node = Node(directory, **changes)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.performer.run)
        yield node
        nursery.cancel_scope.cancel()
    node.journal.close()


def wish(server: Server, **changes: Any) -> Any:
    return setup(**{"url": server.url(), "digest": DIGEST, "notification": None} | changes)


async def test_a_module_comes_refreshes_and_goes(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server, running(tmp_path) as node:
        assert node.ask(wish(server)) == 202
        await node.until(State.ACTIVE)
        (installation,) = node.containers.running.values()
        assert await trio.Path(installation.bundle).read_bytes() == BUNDLE
        assert node.ask(wish(server)) == 200
        assert node.ask(probe()) == 200
        assert node.recorded() == 1
        assert node.ask(remove()) == 202
        await node.until(None)
        assert not node.containers.running
        assert node.recorded() == 0
    assert node.handler.answered == {("SETUP", 202): 1, ("SETUP", 200): 1, ("PROBE", 200): 1, ("REMOVE", 202): 1}


async def test_a_module_ends_with_its_time(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server, running(tmp_path) as node:
        assert node.ask(wish(server, ttl_s=1)) == 202
        await node.until(State.ACTIVE)
        await node.until(None)
        assert not node.containers.running
        assert node.recorded() == 0


@pytest.mark.parametrize(
    ("answer", "changes", "code"),
    [
        (response(BUNDLE, status="404 Not Found"), {}, 404),
        (response(BUNDLE + b"!"), {}, 400),
        (response(build_bundle(SOURCES, BOB)), {}, 400),
        (*forged(b"no zip"), 400),
        (*forged(build_bundle(SOURCES, BOB)), 401),
        (*forged(build_bundle(SOURCES)), 401),
        (*forged(BUNDLE.replace(b"...", b"pas")), 400),
        (*forged(BUNDLE[:-9]), 400),
        (*forged(build_bundle(SOURCES | {"module.toml": TOML.replace(b"1.0.0", b"1.0.1")}, ALICE)), 400),
        (*forged(build_bundle(SOURCES | {"module.toml": TOML.replace(b"timers", b"magic")}, ALICE)), 424),
        (response(BUNDLE), {"filter_dst": ip_network("192.0.2.1/32"), "password": PASSWORD}, 403),
    ],
)
async def test_a_probe_tells_why_nothing_was_installed(
    answer: bytes, changes: dict[str, Any], code: int, tmp_path: Path
) -> None:
    async with serving(answer) as server, running(tmp_path) as node:
        assert node.ask(wish(server, **changes)) == 202
        await node.until(State.FAILED)
        assert node.ask(probe()) == code
        assert not node.containers.running


async def test_a_container_that_refuses_is_told(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server, running(tmp_path) as node:
        node.containers.error = SystemRefusedError("no cgroup")
        assert node.ask(wish(server)) == 202
        await node.until(State.FAILED)
        assert node.ask(probe()) == 500
        node.containers.error = None
        assert node.ask(wish(server)) == 202
        await node.until(State.ACTIVE)
        job = next(iter(node.containers.running))
        for _ in range(3):  # a container may say it again, and of what is gone
            node.performer.died(job, "it raises")
            await node.until(State.FAILED)
        node.performer.died(77, "who?")
        assert not node.containers.running
        assert node.recorded() == 0


async def test_a_remove_overtakes_an_installation_that_hangs(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server, running(tmp_path) as node:
        node.containers.gate = trio.Event()
        assert node.ask(wish(server)) == 202
        await node.until(State.INSTALLING)
        assert node.ask(remove()) == 202
        await node.until(None)
        node.containers.gate.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not node.containers.running


async def test_a_remove_ends_a_download(tmp_path: Path) -> None:
    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with serving(silent) as server, running(tmp_path) as node:
        assert node.ask(wish(server)) == 202
        await eventually(lambda: bool(server.requests))
        assert node.ask(remove()) == 200
        await eventually(lambda: not list((tmp_path / "bundles").iterdir()))
        assert node.state() is None


async def test_a_restart_installs_again_what_is_valid_without_a_download(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server:
        async with running(tmp_path) as node:
            request = wish(server)
            assert node.ask(request) == 202
            await node.until(State.ACTIVE)
        async with running(tmp_path) as node:
            await node.until(State.ACTIVE)
            assert len(node.containers.running) == 1
            assert node.ask(request) == 403, "it was acted on before the restart"
            assert node.recorded() == 1
        async with running(tmp_path, publishers={}) as node:
            assert node.state() is None
            assert node.recorded() == 0
    assert len(server.requests) == 1


async def test_a_journal_that_cannot_be_written_stops_nothing_and_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netserv.controller.performing.BEAT_S", 0.05)
    async with serving(response(BUNDLE)) as server, running(tmp_path) as node:
        write = node.journal.write

        def full(_effects: list[Effect], _clock: Clock, _now: float) -> None:
            raise SystemRefusedError("the disk is full")

        monkeypatch.setattr(node.journal, "write", full)
        assert node.ask(wish(server)) == 202
        await node.until(State.ACTIVE)
        assert node.performer.counters["journal_failures"] == 2
        await eventually(lambda: node.recorded() == 1)
        monkeypatch.setattr(node.journal, "write", write)


async def test_publishers_are_told_by_their_servers(tmp_path: Path) -> None:
    async with serving(response(BUNDLE)) as server, serving(response(b"")) as told, running(tmp_path) as node:
        node.ask(wish(server, notification=told.url("/")))
        await node.until(State.ACTIVE)
        node.ask(remove())
        await eventually(lambda: len(told.requests) == 2)
    assert [b"netserv.installed" in each for each in told.requests] == [True, False]
    assert b"netserv.removed" in told.requests[1]


BASE = build_bundle(
    {
        "module.toml": b'name = "NetServ.base"\nversion = "1.2"\nkind = "server"\nentry = "base:Module"\n',
        "base.py": b"class Module: ...",
    },
    CAROL,
)
NEEDS_BASE = build_bundle(SOURCES | {"module.toml": TOML.replace(b"timers", b"NetServ.base>=1.1")}, ALICE)


def of_carol(server: Server, bundle: bytes = BASE, **changes: Any) -> Located:
    digest = hashlib.sha256(bundle).digest()
    return located(**({"urls": (server.url("/base.zip"),), "digest": digest, "size": len(bundle)} | changes))


async def test_what_a_module_needs_is_fetched_and_comes_back_after_a_restart_without_the_index(tmp_path: Path) -> None:
    async with serving(response(NEEDS_BASE)) as server, serving(response(BASE)) as repository:
        request = wish(server, digest=hashlib.sha256(NEEDS_BASE).digest())
        async with running(tmp_path, dependencies=RULES) as node:
            node.index.found["NetServ.base"] = of_carol(repository)
            assert node.ask(request) == 202
            await node.until(State.ACTIVE)
            base, monitor = node.containers.running.values()
            assert (base.manifest.name, base.account.name) == ("NetServ.base", "alice")
            assert await trio.Path(base.bundle).read_bytes() == BASE
            assert monitor.manifest.name == MONITOR.name
            assert node.recorded() == 1
        async with running(tmp_path, dependencies=RULES) as node:
            await node.until(State.ACTIVE)
            assert len(node.containers.running) == 2
            assert not node.index.asked
            assert node.ask(remove()) == 202
            await eventually(lambda: not node.containers.running)
            assert not node.controller.lifecycle.slots
            assert node.recorded() == 0
    assert len(repository.requests) == 1, "its bundle was kept"


async def test_another_url_is_tried_where_one_does_not_have_the_bundle(tmp_path: Path) -> None:
    async with (
        serving(response(NEEDS_BASE)) as server,
        serving(response(BASE)) as repository,
        serving(response(b"", status="404 Not Found")) as empty,
        running(tmp_path, dependencies=RULES) as node,
    ):
        node.index.found["NetServ.base"] = of_carol(repository, urls=(empty.url(), repository.url()))
        assert node.ask(wish(server, digest=hashlib.sha256(NEEDS_BASE).digest())) == 202
        await node.until(State.ACTIVE)


@pytest.mark.parametrize(
    ("bundle", "changes", "said"),
    [
        (BASE + b"!", {}, "more than"),
        (BASE[:-1] + b"!", {"digest": hashlib.sha256(BASE).digest()}, "its SHA-256 is"),
        (BUNDLE, {}, "which is no key of its user"),
        (
            build_bundle(SOURCES, CAROL),
            {},
            "the bundle is NetServ.apps.NetMonitor_1.0.0",
        ),
    ],
)
async def test_what_comes_has_to_be_what_was_signed(
    bundle: bytes, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    async with (
        serving(response(NEEDS_BASE)) as server,
        serving(response(bundle)) as repository,
        running(tmp_path, dependencies=RULES) as node,
    ):
        size = len(BASE) if bundle[:-1] == BASE else len(bundle)
        node.index.found["NetServ.base"] = of_carol(repository, bundle, **({"size": size} | changes))
        assert node.ask(wish(server, digest=hashlib.sha256(NEEDS_BASE).digest())) == 202
        await node.until(State.FAILED)
        (module,) = node.handler.described()["modules"]
        assert module["code"] == 424
        assert said in module["text"]
        assert not node.containers.running


async def test_a_remove_ends_a_search(tmp_path: Path) -> None:
    async with serving(response(NEEDS_BASE)) as server, running(tmp_path, dependencies=RULES) as node:
        gate = trio.Event()

        async def hang(_effect: Locate) -> Located:
            await gate.wait()
            raise AssertionError("it was given up")

        node.index.locate = hang  # type: ignore[method-assign]
        assert node.ask(wish(server, digest=hashlib.sha256(NEEDS_BASE).digest())) == 202
        await node.until(State.GATHERING)
        (module,) = node.handler.described()["modules"]
        assert module["waits_for"] == "NetServ.base>=1.1 is looked for"
        assert node.ask(remove()) == 200
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert node.state() is None
        assert node.handler.counters() == {
            "dependencies": {"searches": 1, "located": 0, "fetched": 0, "failed": 0, "removed": 0}
        }
