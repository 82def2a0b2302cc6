"""Does what the controller wants done, and tells it what became of that: the shell around the pure core.

What loads modules and moves packets is handed in. The journal is written first, before anything else of a decision.
"""

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import trio

from netserv.container.installation import Installation
from netserv.controller.controller import Controller
from netserv.controller.effects import (
    Abandon,
    CheckRoutability,
    Effect,
    Fetch,
    Forget,
    Install,
    Locate,
    Located,
    Notify,
    Record,
    Remember,
    Uninstall,
    Verify,
)
from netserv.controller.fetch import fetch
from netserv.controller.http_process import HttpError, HttpProcesses
from netserv.controller.journal import BEAT_S, Clock, Journal
from netserv.controller.notification import Notifier
from netserv.controller.routability import check
from netserv.controller.spool import Spool
from netserv.controller.states import State
from netserv.controller.verification import opened
from netserv.errors import NetservError, RemoteProtocolError, SystemRefusedError
from netserv.modules.manifest import Manifest
from netserv.signaling.nslp.codes import Code, NslpError

log = logging.getLogger(__name__)

Opener: TypeAlias = Callable[[bytes, tuple[bytes, ...]], Manifest]
"Manifest of a bundle that one of some keys has signed; raises `NslpError` with the code for its publisher."


class Place(Protocol):
    """Where modules run: containers and packet path of the node."""

    async def install(self, job: int, installation: Installation) -> None:
        """Load a module, and let its packets go to it; if that fails or is cancelled, nothing is left of it.

        Raises:
            NetservError: it failed.
        """
        ...

    async def uninstall(self, job: int) -> None:
        """Take a module away with all that belongs to it; one that is not there is no error."""
        ...


class Locator(Protocol):
    """Where bundles of modules are found."""

    async def locate(self, effect: Locate) -> Located:
        """Find the newest bundle that will do, of a publisher who is believed.

        Raises:
            NetservError: there is none, or nobody can be asked; the text says why.
        """
        ...


class Performer:
    """Performs effects while `run` runs.

    Args:
        controller: decides.
        journal: what it is to remember.
        spool: bundles.
        http: requests of the node to foreign servers.
        notifier: tells publishers.
        place: where modules run.
        locator: finds modules that others need.
        opener: checks bundles.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        journal: Journal,
        spool: Spool,
        http: HttpProcesses,
        notifier: Notifier,
        place: Place,
        locator: Locator,
        opener: Opener = opened,
    ) -> None:
        self._controller = controller
        self._journal, self._spool, self._http = journal, spool, http
        self._notifier, self._place, self._locator, self._opener = notifier, place, locator, opener
        self._nursery: trio.Nursery | None = None
        self._works: dict[int, _Work] = {}
        self._moved = trio.Event()
        self._incomplete = False
        "A write to the journal failed; all of it is to be written again."
        self.counters = Counter({"effects": 0, "journal_failures": 0})

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Install again what the journal has, then go on until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            now = trio.current_time()
            kept = self._journal.load(Clock.read(), now)
            self.perform(self._controller.restore(kept.entries, kept.nonces, now))
            nursery.start_soon(self._http.keep_ready)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._keep_journal)
            task_status.started()

    def perform(self, effects: list[Effect]) -> None:
        """Begin what is to be done; call it while `run` runs."""
        if self._nursery is None:
            raise RuntimeError("nothing is performed before `run` runs")
        self.counters["effects"] += len(effects)
        if any(isinstance(effect, Record | Forget | Remember) for effect in effects):
            self._write(effects)
        for effect in effects:
            self._begin(self._nursery, effect)
        self._moved.set()  # the next deadline may be another one

    def died(self, job: int, text: str) -> None:
        """An active module is given up by its container; of any other there is nothing to be done."""
        known = self._controller.lifecycle.job(job)
        if known is None or known.state is not State.ACTIVE:
            return
        self.perform(self._controller.lifecycle.failed(job, Code.ERROR, text, trio.current_time()))

    def _begin(self, nursery: trio.Nursery, effect: Effect) -> None:
        match effect:
            case CheckRoutability() | Locate() | Fetch() | Verify() | Install():
                self._start(nursery, effect.job, partial(self._worked, effect))
            case Uninstall(job=job):
                work = self._works.pop(job, None)
                if work is not None:
                    work.scope.cancel()
                nursery.start_soon(self._uninstalled, job, work)
            case Abandon(job=job):
                work = self._works.pop(job, None)
                if work is not None:
                    work.scope.cancel()
            case Notify():
                nursery.start_soon(self._notifier.deliver, effect)
            case Record() | Forget() | Remember():
                pass  # written already

    def _start(self, nursery: trio.Nursery, job: int, work: Callable[[], Awaitable[list[Effect]]]) -> None:
        begun = self._works[job] = _Work()
        nursery.start_soon(self._run_work, job, begun, work)

    async def _run_work(self, job: int, begun: "_Work", work: Callable[[], Awaitable[list[Effect]]]) -> None:
        effects: list[Effect] = []
        try:
            with begun.scope:
                effects = await work()
        finally:
            if self._works.get(job) is begun:
                del self._works[job]
            begun.done.set()
        self.perform(effects)

    async def _worked(self, effect: CheckRoutability | Locate | Fetch | Verify | Install) -> list[Effect]:
        """Do one thing for an installation, and say what the controller wants then."""
        life, job = self._controller.lifecycle, effect.job
        try:
            match effect:
                case CheckRoutability():
                    reason = await check(effect, self._http)
                    now = trio.current_time()
                    return life.routable(job, now) if reason is None else life.unroutable(job, reason, now)
                case Locate():
                    return life.located(job, effect.dependency, await self._located(effect), trio.current_time())
                case Fetch():
                    await fetch(effect, self._http, self._spool, self._room(effect))
                    return life.fetched(job, self._spool.path(effect.digest), trio.current_time())
                case Verify():
                    manifest = await trio.to_thread.run_sync(
                        _read, self._opener, self._spool.path(effect.digest), effect.keys
                    )
                    return life.verified(job, manifest, trio.current_time())
                case Install():
                    await self._place.install(job, effect.installation)
                    return life.installed(job, trio.current_time())
        except NetservError as error:
            return life.failed(job, code_of(error), str(error), trio.current_time())

    async def _located(self, effect: Locate) -> Located | str:
        """Where a module is that another one needs; or why it is not to be had."""
        try:
            return await self._locator.locate(effect)
        except NetservError as error:
            log.info("%s, which a module of %s needs: %s", effect.dependency, effect.user, error)
            return str(error)

    def _room(self, effect: Fetch) -> int:
        """Bytes that a bundle may have."""
        others = self._controller.digests(effect.user) - {effect.digest}
        return self._spool.room(others, self._controller.digests())

    async def _uninstalled(self, job: int, work: "_Work | None") -> None:
        if work is not None:
            await work.done.wait()
        try:
            await self._place.uninstall(job)
        except NetservError as error:
            log.error("installation %d: %s", job, error)  # noqa: TRY400 - its text says all
        self.perform(self._controller.lifecycle.removed(job, trio.current_time()))
        self._spool.trim(self._controller.digests())

    async def _keep_time(self) -> None:
        """Let what has lived its time end."""
        while True:
            self._moved = trio.Event()
            deadline = self._controller.lifecycle.next_deadline()
            with trio.move_on_at(deadline) if deadline < math.inf else trio.CancelScope():
                await self._moved.wait()
            effects = self._controller.lifecycle.tick(trio.current_time())
            if effects:
                self.perform(effects)

    async def _keep_journal(self) -> None:
        while True:
            await trio.sleep(BEAT_S)
            if self._incomplete:
                self._write_all()
            else:
                self._beat()

    def _write(self, effects: list[Effect]) -> None:
        try:
            self._journal.write(effects, Clock.read(), trio.current_time())
        except SystemRefusedError as error:
            self._failed_write(error)

    def _write_all(self) -> None:
        """Write what a failed write may have left out."""
        entries = self._controller.entries()
        try:
            self._journal.write_all(entries, Clock.read(), trio.current_time())
        except SystemRefusedError as error:
            self._failed_write(error)
        else:
            self._incomplete = False

    def _beat(self) -> None:
        try:
            self._journal.beat(Clock.read())
        except SystemRefusedError as error:
            self._failed_write(error)

    def _failed_write(self, error: SystemRefusedError) -> None:
        """Go on without: what runs is more than what would be known of it after a restart."""
        self._incomplete = True
        self.counters["journal_failures"] += 1
        log.error("%s", error)


class _Work:
    """Something that is being done for an installation."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()


def code_of(error: NetservError) -> Code:
    """What a publisher is told of an error."""
    if isinstance(error, HttpError | NslpError):
        return error.code
    return Code.BAD_REQUEST if isinstance(error, RemoteProtocolError) else Code.ERROR


def _read(opener: Opener, bundle: Path, keys: tuple[bytes, ...]) -> Manifest:
    try:
        data = bundle.read_bytes()
    except OSError as error:
        raise SystemRefusedError(f"bundle {bundle.name}: {error.strerror}") from error
    return opener(data, keys)
