"""A publisher who has a container here, and his modules: what the supervisor keeps of them."""

import os
import socket
from contextlib import suppress

import trio

from netserv.container.box import Box
from netserv.container.cgroups import Group, Usage
from netserv.container.connect_proxy import Connects
from netserv.container.descriptors import close_all
from netserv.container.installation import Account, Installation
from netserv.container.listening import listen, listens
from netserv.container.logs import Ring
from netserv.container.policy import Backoff, Strikes, starts_again
from netserv.container.states import ContainerStatus, ModuleState, ModuleStatus
from netserv.container.udp_relay import UdpRelay
from netserv.container.zygote_process import ZygoteProcess, process_number


class Module:
    """A module of a publisher."""

    def __init__(self, number: int, installation: Installation, filters: tuple[int, ...]) -> None:
        self.number, self.installation, self.filters = number, installation, filters
        self.state = ModuleState.LOADING
        self.said = trio.Event()
        "The container has answered `Load` or `Unload`."
        self.failure = ""
        "Why it was not loaded."
        self.innocent = False
        "Its container is being ended because of another."
        self.strikes, self.backoff, self.log = Strikes(), Backoff(), Ring()
        self.restarts = 0
        self.counters: dict[str, float] = {}
        self.sockets: list[socket.socket | UdpRelay] = []

    @property
    def starts_again(self) -> bool:
        """Whether it is loaded again by itself."""
        return starts_again(self.installation.manifest.failure)

    def open_ports(self) -> None:
        """Bind its ports; those that still listen stay.

        Raises:
            SystemRefusedError: somebody has one of them.
        """
        ports = self.installation.ports
        if len(self.sockets) == len(ports) and all(
            isinstance(sock, UdpRelay) or listens(sock) for sock in self.sockets
        ):
            return
        self.close_ports()
        account = self.installation.account
        self.sockets = [
            sock if sock.type == socket.SOCK_STREAM else UdpRelay(sock, lambda: account.connects)
            for sock in listen(ports)
        ]

    def box_ends(self, nursery: trio.Nursery) -> list[socket.socket]:
        """What its container gets of each port; the caller closes them when they are sent."""
        return [sock.box_end(nursery) if isinstance(sock, UdpRelay) else sock.dup() for sock in self.sockets]

    def close_ports(self) -> None:
        """Give its ports back."""
        for sock in self.sockets:
            sock.close()
        self.sockets = []

    def status(self) -> ModuleStatus:
        """How it is."""
        manifest = self.installation.manifest
        return ModuleStatus(
            number=self.number,
            name=manifest.name,
            version=manifest.version,
            state=self.state,
            strikes=self.strikes.total,
            restarts=self.restarts,
            counters=self.counters,
        )


class Publisher:
    """A publisher who has a container, or will have one again."""

    def __init__(self, account: Account, slot: int, user: int) -> None:
        self.account, self.slot, self.user = account, slot, user
        self.lock = trio.Lock()
        "Held while something is loaded, unloaded, started or ended."
        self.modules: dict[int, Module] = {}
        self.box: Box | None = None
        self.group: Group | None = None
        self.zygote: ZygoteProcess | None = None
        "That has made his directories."
        self.data = self.store = -1
        self.backoff, self.log = Backoff(), Ring()
        self.leaving = False
        self.start_failure = ""
        self.killed_for_memory = 0
        self.connects = Connects()

    def close_directories(self) -> None:
        """Forget his directories; the zygote removes them."""
        close_all([descriptor for descriptor in (self.data, self.store) if descriptor >= 0])
        self.data = self.store = -1
        self.zygote = None

    def status(self) -> ContainerStatus:
        """How his container is."""
        usage = Usage(0, 0.0, 0, 0) if self.group is None else self.group.usage()
        limits, box = self.account.limits, self.box
        return ContainerStatus(
            account=self.account.name,
            running=box is not None and not box.ended.is_set(),
            process=0 if box is None else process_number(box.process),
            user=self.user,
            walls={} if box is None else box.walls,
            memory_bytes=usage.memory_bytes,
            memory_limit_bytes=limits.memory_bytes,
            cpu_s=usage.cpu_s,
            pids=usage.pids,
            disk_bytes=self._disk_bytes(),
            disk_limit_bytes=limits.disk_bytes,
            killed_for_memory=usage.killed_for_memory,
            rubbish=0 if box is None else box.rubbish,
            modules=tuple(module.status() for module in self.modules.values()),
        )

    def _disk_bytes(self) -> int:
        if self.data >= 0:
            with suppress(OSError):
                used = os.fstatvfs(self.data)
                return (used.f_blocks - used.f_bfree) * used.f_frsize
        return 0
