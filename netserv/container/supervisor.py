"""The supervisor: which containers run, what is loaded in them, and what happens when they fail (thesis 6.1.4).

    async with supervising(SupervisorConfig()) as supervisor:
        module = await supervisor.install(installation)

One container per publisher, forked from the zygote with his first module and ended with his last. A container whose
walls do not all stand loads nothing. One that dies takes all modules of its publisher with it: those whose policy is
`reload` come back after 1, 2, 4 .. 60 s.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from netserv.container.box import Box, status_text
from netserv.container.installation import Account, Installation
from netserv.container.loading import Loader
from netserv.container.logs import Line
from netserv.container.messages import (
    AttachRing,
    Connect,
    Filters,
    FromContainer,
    Log,
    Metrics,
    Unloaded,
)
from netserv.container.messages import Failed as SaidFailed
from netserv.container.messages import Loaded as SaidLoaded
from netserv.container.publishers import Module, Publisher
from netserv.container.starting import Starter
from netserv.container.states import ContainerStatus, Died, Event, Failed, ModuleState, Stopped
from netserv.container.supervisor_config import SupervisorConfig
from netserv.container.unpack import forget, unpack
from netserv.errors import LocalProtocolError, NetservError, SystemRefusedError, UnreachableError

EVENTS_MAX: Final = 1_024
"That the node has not read yet; what is more is left out, and counted."
COUNTERS_MAX: Final = 256
"Of one module."
END_S: Final = 2.0
"Longest wait for a container that was asked to end."

OpenBundle = Callable[[bytes], Mapping[str, bytes]]
"The files of a verified bundle."


class Supervisor:
    """All containers of a node; made by `supervising`."""

    def __init__(self, config: SupervisorConfig, open_bundle: OpenBundle, nursery: trio.Nursery) -> None:
        self._config, self._open_bundle, self._nursery = config, open_bundle, nursery
        self._starter = Starter(config, nursery, self._publishers_now)
        self._loader = Loader(config, nursery, self._tell)
        self._publishers: dict[str, Publisher] = {}
        self._modules: dict[int, Publisher] = {}
        self._last_module = 0
        self._said, self.events = trio.open_memory_channel[Event](EVENTS_MAX)
        self.events_lost = 0

    async def warm(self, account: Account) -> None:
        """Have a container of a publisher ready, before his first module.

        Raises:
            NetservError: it cannot be.
        """
        async with self._locked(account) as publisher:
            await self._running(publisher)

    async def install(self, installation: Installation, filters: Sequence[int] = ()) -> int:
        """Load a module into the container of its publisher, and start it; returns its number.

        Args:
            installation: what to run; its bundle is verified.
            filters: numbers of its packet filters, where they are known already.

        Raises:
            SystemRefusedError: a wall does not stand, a port is taken, there is no room.
            UnreachableError: the module does not load; the text has its last words.
        """
        try:
            files = self._open_bundle(await trio.Path(installation.bundle).read_bytes())
        except OSError as error:
            raise SystemRefusedError(f"the bundle cannot be read: {error}") from error
        async with self._locked(installation.account) as publisher:
            self._last_module += 1
            module = Module(self._last_module, installation, tuple(filters))
            try:
                box = await self._running(publisher)
                unpack(files, publisher.store, str(module.number))
                module.open_ports()
                publisher.modules[module.number] = module
                self._modules[module.number] = publisher
                await self._loader.load(publisher, box, module)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self._forget(publisher, module)
                raise
        return module.number

    async def remove(self, number: int) -> None:
        """Stop a module and forget it; with the last one its container ends.

        Raises:
            LocalProtocolError: no such module.
        """
        publisher, module = self._find(number)
        async with publisher.lock:
            if publisher.box is not None and module.state is ModuleState.RUNNING:
                await self._loader.unload(publisher, publisher.box, module)
            await self._forget(publisher, module)

    async def attach(self, number: int, ring: Sequence[int] | None, filters: Sequence[int] = ()) -> None:
        """Give a module's container its rings, and the module its packets; returns when it has taken them.

        Args:
            number: of the module.
            ring: the descriptors that `AttachRing` names, which stay open here; None where the container has its ring.
            filters: numbers of its packet filters; they must be known before it is loaded, if the runtime cannot be
                told later.

        Raises:
            LocalProtocolError: no such module.
            UnreachableError: its container has ended.
        """
        publisher, module = self._find(number)
        box = publisher.box
        if box is None:
            raise UnreachableError(f"the container of module {number} does not run")
        if ring is not None:
            await box.say(AttachRing(), ring)
        if filters and tuple(filters) != module.filters:
            module.filters = tuple(filters)
            await box.say(Filters(number, module.filters))
        await box.settled()

    def strike(self, number: int, why: str) -> None:
        """Count a failure of a module that was seen outside, such as packets that it held too long."""
        with suppress(LocalProtocolError):
            publisher, module = self._find(number)
            self._strike(publisher, module, "deadline", why)

    def log(self, number: int, after: int = 0) -> list[Line]:
        """The last lines of a module.

        Raises:
            LocalProtocolError: no such module.
        """
        return self._find(number)[1].log.lines(after)

    def output(self, account: str) -> list[Line]:
        """The last lines that a publisher's container printed, and what was said of it."""
        publisher = self._publishers.get(account)
        return [] if publisher is None else publisher.log.lines()

    def status(self) -> list[ContainerStatus]:
        """How all containers are."""
        return [publisher.status() for publisher in self._publishers.values()]

    async def aclose(self) -> None:
        """End all containers, and leave nothing."""
        for publisher in list(self._publishers.values()):
            publisher.leaving = True
        await self._starter.end_all()
        for publisher in list(self._publishers.values()):
            for module in publisher.modules.values():
                module.close_ports()
            publisher.close_directories()
        self._publishers.clear()
        self._modules.clear()
        await self._starter.aclose()

    def _publishers_now(self) -> list[Publisher]:
        return list(self._publishers.values())

    @asynccontextmanager
    async def _locked(self, account: Account) -> AsyncIterator[Publisher]:
        """A publisher whom nobody else changes; not one who is just being forgotten."""
        while True:
            publisher = self._publisher(account)
            async with publisher.lock:
                if not publisher.leaving:
                    yield publisher
                    return

    def _find(self, number: int) -> tuple[Publisher, Module]:
        publisher = self._modules.get(number)
        if publisher is None:
            raise LocalProtocolError(f"there is no module {number}")
        return publisher, publisher.modules[number]

    def _publisher(self, account: Account) -> Publisher:
        publisher = self._publishers.get(account.name)
        if publisher is not None:
            publisher.account = account  # prefixes and limits may have changed; limits count from the next start
            return publisher
        if len(self._publishers) >= self._config.publishers_max:
            most = self._config.publishers_max
            raise SystemRefusedError(f"there are {most} containers already; publishers_max allows no more")
        taken = {other.slot for other in self._publishers.values()}
        slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        publisher = Publisher(account, slot, self._config.first_user + slot)
        self._publishers[account.name] = publisher
        return publisher

    async def _running(self, publisher: Publisher) -> Box:
        """The container of a publisher, started if need be; the caller holds his lock."""
        if publisher.box is not None and not publisher.box.ended.is_set():
            return publisher.box
        try:
            box = await self._starter.fork(publisher)
            self._nursery.start_soon(self._serve, publisher, box)
            await self._starter.tested(publisher, box)
            return box
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._leave_if_empty(publisher)
            raise

    async def _serve(self, publisher: Publisher, box: Box) -> None:
        def said(message: FromContainer) -> None:
            self._said_by(publisher, box, message)

        await box.run(said, lambda line: publisher.log.add("output", line, time.time()))
        if publisher.box is box:
            publisher.box = None
        if not publisher.leaving:
            self._died(publisher, box)

    def _said_by(self, publisher: Publisher, box: Box, message: FromContainer) -> None:
        """Numbers of other publishers' modules mean nothing here."""
        match message:
            case SaidLoaded(module=number) if number in publisher.modules:
                publisher.modules[number].said.set()
            case Unloaded(module=number) if number in publisher.modules:
                publisher.modules[number].said.set()
            case SaidFailed(module=0, text=text):
                publisher.start_failure = text.strip().rpartition("\n")[2]
                publisher.log.add("error", text, time.time())
                box.ready.set()
            case SaidFailed(module=number, where=where, text=text) if number in publisher.modules:
                self._failed(publisher, publisher.modules[number], where, text)
            case Log(module=number, level=level, text=text):
                log = publisher.modules[number].log if number in publisher.modules else publisher.log
                log.add(level, text, time.time())
            case Metrics(module=number, counters=counters) if number in publisher.modules:
                publisher.modules[number].counters = dict(list(counters.items())[:COUNTERS_MAX])
            case Connect():
                publisher.connects.ask(self._nursery, box, message, publisher.account.connects)

    def _failed(self, publisher: Publisher, module: Module, where: str, text: str) -> None:
        module.log.add("error", text, time.time())
        if module.state is ModuleState.LOADING and where in {"load", "start"}:
            module.failure = text
            module.said.set()
            return
        self._strike(publisher, module, where, text)

    def _strike(self, publisher: Publisher, module: Module, where: str, text: str) -> None:
        self._tell(Failed(module.number, where, text))
        if module.strikes.add(trio.current_time()) and module.state is ModuleState.RUNNING:
            module.strikes.forget()
            module.state = ModuleState.FAILED
            self._nursery.start_soon(self._stop, publisher, module, "it has failed too often")

    async def _stop(self, publisher: Publisher, module: Module, why: str) -> None:
        """Take a module out of a container that runs on, and load it again if that is its policy."""
        wait_s = module.backoff.died(trio.current_time()) if module.starts_again else None
        self._tell(Stopped(module.number, why, wait_s))
        async with publisher.lock:
            if publisher.box is not None:
                with suppress(NetservError):
                    await self._loader.unload(publisher, publisher.box, module)
        if wait_s is not None:
            module.state = ModuleState.WAITING
            await self._come_back(publisher, [module], wait_s)

    def _died(self, publisher: Publisher, box: Box) -> None:
        why = box.why or status_text(box.status)
        group = publisher.group
        if group is not None and (killed := group.usage().killed_for_memory) > publisher.killed_for_memory:
            publisher.killed_for_memory = killed
            why = "it needed more memory than its limit"
        publisher.log.add("error", f"the container has ended: {why}", time.time())
        self._tell(Died(publisher.account.name, why))
        wait_s = publisher.backoff.died(trio.current_time())
        again = []
        for module in publisher.modules.values():
            if module.state is ModuleState.LOADING:
                module.failure = module.failure or why
                module.said.set()
            elif module.state is ModuleState.RUNNING:
                comes_back = module.starts_again or module.innocent
                module.state = ModuleState.WAITING if comes_back else ModuleState.FAILED
                module.innocent = False
                self._tell(Stopped(module.number, why, wait_s if comes_back else None))
                again += [module] if comes_back else []
        if again:
            self._nursery.start_soon(self._come_back, publisher, again, wait_s)

    async def _come_back(self, publisher: Publisher, modules: list[Module], wait_s: float) -> None:
        """Start a container again and load modules into it, until it works or they are removed."""
        while modules and not publisher.leaving:
            await trio.sleep(wait_s)
            async with publisher.lock:
                modules = [module for module in modules if publisher.modules.get(module.number) is module]
                for module in [module for module in modules if module.state is ModuleState.WAITING]:
                    with suppress(NetservError):
                        box = await self._running(publisher)
                        module.restarts += 1
                        await self._loader.load(publisher, box, module)
                modules = [module for module in modules if module.state is not ModuleState.RUNNING]
                for module in modules:
                    module.state = ModuleState.WAITING
            wait_s = publisher.backoff.died(trio.current_time())

    async def _forget(self, publisher: Publisher, module: Module) -> None:
        module.close_ports()
        publisher.modules.pop(module.number, None)
        self._modules.pop(module.number, None)
        if publisher.store >= 0:
            forget(publisher.store, str(module.number))
        if not publisher.modules and self._config.keep_warm_s > 0:
            self._nursery.start_soon(self._cool, publisher)
        else:
            await self._leave_if_empty(publisher)

    async def _cool(self, publisher: Publisher) -> None:
        await trio.sleep(self._config.keep_warm_s)
        async with publisher.lock:
            await self._leave_if_empty(publisher)

    async def _leave_if_empty(self, publisher: Publisher) -> None:
        """End the container of a publisher who has no module, and give back all that was his."""
        if publisher.modules or self._publishers.get(publisher.account.name) is not publisher:
            return
        publisher.leaving = True
        box = publisher.box
        if box is not None:
            box.let_go()
            with trio.move_on_after(END_S):
                await box.ended.wait()
            box.end("it was told to end")
            await box.ended.wait()
        if publisher.zygote is not None:
            with suppress(NetservError):
                publisher.zygote.release(publisher.slot)
        publisher.close_directories()
        if publisher.group is not None:
            await trio.to_thread.run_sync(publisher.group.remove)
        # Last: only now may another publisher get his number, and with it his user.
        self._publishers.pop(publisher.account.name, None)

    def _tell(self, event: Event) -> None:
        try:
            self._said.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.events_lost += 1


@asynccontextmanager
async def supervising(config: SupervisorConfig, open_bundle: OpenBundle) -> AsyncIterator[Supervisor]:
    """A supervisor for the time of a block; afterwards no process, mount, group or directory of it is left.

    Args:
        config: settings.
        open_bundle: gives the files of a bundle that was verified.

    Raises:
        SystemRefusedError: this machine does not give what containers need.
    """
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(config, open_bundle, nursery)
        try:
            yield supervisor
        finally:
            with trio.CancelScope(shield=True):
                await supervisor.aclose()
            nursery.cancel_scope.cancel()
