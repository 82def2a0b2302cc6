"""Where modules of a node run: containers and packet path, joined by rings."""

import logging
from collections.abc import Callable
from typing import Any, Final

import trio

from netserv.container.installation import Installation
from netserv.container.states import Died, Event, Failed, Loaded, Stopped
from netserv.container.supervisor import Supervisor
from netserv.controller.probing import ModuleFacts
from netserv.errors import LocalProtocolError, NetservError
from netserv.forwarding.base import COUNTERS, Counters, ForwardingPlane
from netserv.forwarding.ring import Ring

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"Between two looks at what filters have counted: a module that keeps its packets is struck once in that time."
IN_TIME: Final = 0.1
"""Of the packets that a module was given: one that treats fewer in time keeps them. One that has merely more of them
than its share of the processor is for treats as many as ever."""
_ANSWERED: Final = ("accepted", "dropped", "changed", "refused")
_UNTOLD: Final = frozenset({"bytes", "passed", "cached"})
"What filters count and a PROBE has no room for."


class _Placed:
    """A module in its place."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.module = 0
        self.filter = 0
        "0: it gets no packets."


class Place:
    """Loads modules, and lets their packets go to them; the `Place` of a controller's performer.

    Args:
        supervisor: of containers.
        plane: of packets.
    """

    def __init__(self, supervisor: Supervisor, plane: ForwardingPlane) -> None:
        self._supervisor, self._plane = supervisor, plane
        self._placed: dict[int, _Placed] = {}
        self._job_of: dict[int, int] = {}
        "By the number of a module."
        self._rings: dict[str, tuple[int, Ring]] = {}
        "By publisher, each with the process of the container that has it."
        self.counted: dict[int, Counters] = {}
        "What each filter had counted when it was looked at last."

    async def install(self, job: int, installation: Installation) -> None:
        """See `performing.Place`."""
        placed = self._placed[job] = _Placed(installation)
        try:
            placed.module = await self._supervisor.install(installation)
            self._job_of[placed.module] = job
            if installation.packets is not None:
                # Without a ring its packets pass by, until the module knows the number by which they come.
                placed.filter = await self._plane.install(
                    installation.packets, None, installation.manifest.failure, installation.account.prefixes
                )
                await self._connect(placed)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._take_away(job)
            raise

    async def uninstall(self, job: int) -> None:
        """See `performing.Place`."""
        with trio.CancelScope(shield=True):
            await self._take_away(job)

    async def watch(self, given_up: Callable[[int, str], None]) -> None:
        """Follow what happens to containers, until cancelled.

        Args:
            given_up: is told of a module, by its job, that it will not be started again, and why.
        """
        async for event in self._supervisor.events:
            try:
                await self._happened(event, given_up)
            except NetservError as error:
                log.warning("%s", error)

    async def look(self) -> None:
        """Look again and again at what filters count; a module that keeps packets too long is struck."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                counted = await self._plane.counters()
            except NetservError as error:
                log.warning("packets were not counted: %s", error)
                continue
            for placed in list(self._placed.values()):
                now, before = counted.get(placed.filter, {}), self.counted.get(placed.filter, {})
                more = {name: count - before.get(name, 0) for name, count in now.items()}
                late, in_time = more.get("late", 0), sum(more.get(name, 0) for name in _ANSWERED)
                if in_time < IN_TIME * (late + in_time):
                    self._supervisor.strike(placed.module, f"{late} packets late")
                if more.get("rubbish", 0) > 0:
                    self._supervisor.strike(placed.module, f"{more['rubbish']} packets rubbish")
            self.counted = counted

    def facts(self) -> dict[int, ModuleFacts]:
        """What can be told of each module, by job."""
        facts = {}
        for container in self._supervisor.status():
            walls = tuple(name for name, stands in container.walls.items() if stands)
            used = (("cpu-s", f"{container.cpu_s:.3f}"), ("memory", str(container.memory_bytes)))
            for module in container.modules:
                placed = self._of(module.number)
                if placed is not None:
                    counted = self.counted.get(placed.filter, {})
                    packets = tuple(
                        (name, str(counted[name])) for name in COUNTERS if name in counted and name not in _UNTOLD
                    )
                    job = self._job_of[module.number]
                    facts[job] = ModuleFacts(load=(*packets, *used), walls=walls, strikes=module.strikes)
        return facts

    def described(self) -> dict[str, Any]:
        """What a status shows of each job: numbers of its module and filter, and what the filter has counted."""
        return {
            str(job): {
                "module": placed.module,
                "filter": placed.filter,
                "packets": self.counted.get(placed.filter, {}),
            }
            for job, placed in self._placed.items()
        }

    async def _connect(self, placed: _Placed) -> None:
        """Let the packets of a module that runs come to it."""
        account = placed.installation.account.name
        process = self._process_of(account)
        if account in self._rings and self._rings[account][0] != process:
            await self._without_ring(account)
        if account in self._rings:
            _, ring = self._rings[account]
            await self._supervisor.attach(placed.module, None, (placed.filter,))
        else:
            ring = Ring.create()
            try:
                await self._supervisor.attach(placed.module, ring.box_descriptors, (placed.filter,))
            except BaseException:
                ring.close()
                raise
            self._rings[account] = process, ring
        await self._plane.attach(placed.filter, ring)

    async def _happened(self, event: Event, given_up: Callable[[int, str], None]) -> None:
        match event:
            case Loaded(module=module, again=True):
                placed = self._of(module)
                if placed is not None and placed.filter:
                    await self._connect(placed)
            case Stopped(module=module, why=why, again_in_s=again_in_s):
                placed = self._of(module)
                if placed is not None and placed.filter:
                    await self._plane.attach(placed.filter, None)
                if placed is not None and again_in_s is None:
                    given_up(self._job_of[module], why)
            case Died(account=account):
                if account in self._rings and self._rings[account][0] != self._process_of(account):
                    await self._without_ring(account)
            case Loaded() | Failed():
                pass

    async def _without_ring(self, account: str) -> None:
        """What a dead container has written to its ring is nobody's any more."""
        if account not in self._rings:
            return
        _, ring = self._rings.pop(account)
        for placed in list(self._placed.values()):
            if placed.installation.account.name == account and placed.filter:
                await self._plane.attach(placed.filter, None)
        ring.close()

    def _process_of(self, account: str) -> int:
        """Of the container that runs; 0 for none."""
        return next((one.process for one in self._supervisor.status() if one.account == account), 0)

    def _of(self, module: int) -> _Placed | None:
        job = self._job_of.get(module)
        return None if job is None else self._placed.get(job)

    async def _take_away(self, job: int) -> None:
        placed = self._placed.pop(job, None)
        if placed is None:
            return
        self._job_of.pop(placed.module, None)
        account = placed.installation.account.name
        try:
            if placed.filter:
                await self._plane.remove(placed.filter)
        finally:
            if placed.module:
                try:
                    await self._supervisor.remove(placed.module)
                except LocalProtocolError:
                    log.debug("module %d was gone already", placed.module)
            if not any(other.installation.account.name == account for other in self._placed.values()):
                await self._without_ring(account)
