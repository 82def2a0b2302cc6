"""Starting containers: their control groups, their directories, the fork, and whether their walls stand."""

import os
import secrets
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from netserv.container.box import Box
from netserv.container.cgroups import Group, Groups, choose, hierarchies
from netserv.container.publishers import Publisher
from netserv.container.supervisor_config import SupervisorConfig
from netserv.container.walls import TESTS
from netserv.container.zygote_messages import Prepare, Start
from netserv.container.zygote_process import ZygoteProcess
from netserv.errors import SystemRefusedError


class Starter:
    """Has the zygote of a node, and its control groups."""

    def __init__(
        self, config: SupervisorConfig, nursery: trio.Nursery, publishers: Callable[[], Iterable[Publisher]]
    ) -> None:
        """Make the control groups; the zygote comes with the first container.

        Raises:
            SystemRefusedError: this machine has none for us.
        """
        self._config, self._nursery, self._publishers = config, nursery, publishers
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        membership = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        self._groups = Groups(secrets.token_hex(4), choose(hierarchies(mountinfo, membership)))
        self._zygote: ZygoteProcess | None = None
        self._zygote_lock = trio.Lock()

    async def fork(self, publisher: Publisher) -> Box:
        """Start a container; who calls serves it, and then has it `tested`.

        Raises:
            SystemRefusedError: it cannot be started.
        """
        zygote = await self.zygote()
        limits = publisher.account.limits
        if publisher.group is None:
            publisher.group = self._groups.make(f"c{publisher.slot}")
        publisher.group.limit(limits)
        if publisher.zygote is not zygote:
            publisher.close_directories()
            size = 0 if "disk" in self._config.left_out else limits.disk_bytes
            request = Prepare(slot=publisher.slot, user=publisher.user, disk_bytes=size)
            publisher.data, publisher.store = await zygote.prepare(request)
            publisher.zygote = zygote
        publisher.start_failure = ""
        publisher.box = await self._fork(publisher, publisher.group, zygote)
        return publisher.box

    async def tested(self, publisher: Publisher, box: Box) -> None:
        """Wait until a container has tested its walls.

        Raises:
            SystemRefusedError: not all of them stand; it is killed.
        """
        with trio.move_on_after(self._config.start_s):
            await box.ready.wait()
        missing = [name for name in TESTS if not box.walls.get(name)]
        if set(missing) - self._config.may_lack:
            stands = f"these walls do not stand: {', '.join(missing)}" if box.walls else "it has tested no wall"
            why = publisher.start_failure or box.why or stands
            box.end(why)
            await box.ended.wait()
            raise SystemRefusedError(f"the container of {publisher.account.name} was not started: {why}")
        publisher.backoff.started(trio.current_time())

    async def zygote(self) -> ZygoteProcess:
        """One that lives.

        Raises:
            SystemRefusedError: it cannot be started.
        """
        async with self._zygote_lock:
            if self._zygote is None or not self._zygote.alive:
                if self._zygote is not None:
                    await self._zygote.aclose()
                config = self._config
                self._zygote = ZygoteProcess(config.runtime, config.runtime_directories, self._ended, self._gone)
                await self._zygote.begin(self._nursery)
            return self._zygote

    async def end_all(self) -> None:
        """End the zygote, and with it all containers."""
        if self._zygote is not None:
            await self._zygote.aclose()

    async def aclose(self) -> None:
        """Remove the control groups, when all containers have ended."""
        await trio.to_thread.run_sync(self._groups.close)

    async def _fork(self, publisher: Publisher, group: Group, zygote: ZygoteProcess) -> Box:
        limits = publisher.account.limits
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        directories = group.open()
        request = Start(
            slot=publisher.slot,
            user=publisher.user,
            descriptors=limits.descriptors,
            memory_bytes=limits.memory_bytes,
            disk_bytes=limits.disk_bytes,
            groups=group.walls,
            left_out=self._config.left_out,
        )
        try:
            process = await zygote.start(request, [theirs.fileno(), writing, *directories])
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            for descriptor in (writing, *directories):
                os.close(descriptor)
        return Box(ours, reading, process, self._config.pong_s, group.hasten)

    def _ended(self, slot: int, status: int) -> None:
        for publisher in self._publishers():
            if publisher.slot == slot and publisher.box is not None:
                publisher.box.gone(status)

    def _gone(self, zygote: ZygoteProcess) -> None:
        for publisher in self._publishers():
            if publisher.zygote is zygote and publisher.box is not None:
                publisher.box.gone(-9)
