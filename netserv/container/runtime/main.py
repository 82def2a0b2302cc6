"""The packet thread: one epoll loop for packets, frames of the node, timers, and calls from the server thread.

No trio here: a packet costs a microsecond or two, and a trip through a scheduler for each batch would double the delay.
"""

import gc
import math
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from netserv.container import frames
from netserv.container.descriptors import close_all
from netserv.container.messages import (
    AttachRing,
    Connected,
    Failed,
    Filters,
    Load,
    Log,
    Metrics,
    Ping,
    Pong,
    ToContainer,
    Unload,
    Unloaded,
)
from netserv.container.runtime.connects import Connects
from netserv.container.runtime.context import Shared
from netserv.container.runtime.dispatcher import Dispatcher
from netserv.container.runtime.hosted import Hosted
from netserv.container.runtime.memory import give_back
from netserv.container.runtime.packet_timers import PacketTimers
from netserv.container.runtime.reports import Reports, failure_text
from netserv.container.runtime.servers import ServerThread
from netserv.container.runtime.services import Registry
from netserv.errors import RemoteProtocolError
from netserv.forwarding.ring import BoxEnd

FRAMES_MAX: Final = 16
"Of the node, before packets are looked at again."
MODULES_MAX: Final = 64
"Of one publisher on one node; each has a namespace and a logger."
SWITCH_S: Final = 0.00005
"""The server thread gives the interpreter up after so long when packets wait. The default is 5 ms, as long as their
deadline, and the packet thread asks for it anew after each system call. A switch costs 5 us, so a tenth where both
threads have work."""
METRICS_S: Final = 1.0
LINGER_S: Final = 2.0
"For servers to end when the node has closed its side."
INJECTED_MAX: Final = 1_024
"Packets of the server thread that the packet thread has not sent yet."


def run(control: socket.socket) -> None:
    """Be a container until the node closes the other end of its socket.

    Args:
        control: to the node; a SOCK_SEQPACKET pair. This function does not close it.
    """
    sys.setswitchinterval(SWITCH_S)
    sys.dont_write_bytecode = True
    # What the zygote has imported stays for ever: the collector need not look at it, nor copy its pages by marks.
    gc.freeze()
    Runtime(control).run()


class Runtime:
    """All that runs in a container; its methods are for the packet thread, but for `call_soon` and `inject`."""

    def __init__(self, control: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        control.setblocking(False)
        self._control, self._clock = control, clock
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._calls: deque[Callable[[], None]] = deque()
        self._thread = threading.get_ident()
        self._end: BoxEnd | None = None
        self._end_descriptors: list[int] = []
        self._injected: deque[tuple[bytes, int]] = deque()
        self._open = True
        self._modules: dict[int, Hosted] = {}
        self._told: dict[int, dict[str, float]] = {}
        self._broken: BaseException | None = None
        self._reports = Reports(control, self.call_soon)
        self._reports.on_waiting = self._wait_for_room
        self._servers = ServerThread(self._servers_died)
        self._dispatcher = Dispatcher()
        self._timers = PacketTimers(clock, self.call_soon)
        self._connects = Connects(self._reports, self._servers)
        self._shared = Shared(
            self._reports, self._timers, self._servers, self._connects, Registry(), clock, self.inject
        )

    def run(self) -> None:
        """Run until the node closes its end.

        Raises:
            BaseException: a bug ended the server thread; the process is to end, and the node starts another.
        """
        self._epoll.register(self._control, select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._timers.every(METRICS_S, self._tell_metrics)
        try:
            while self._open:
                self._turn()
            if self._broken is not None:
                raise self._broken
        finally:
            self._close()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have a function called on the packet thread; from any thread."""
        self._calls.append(function)
        with suppress(OSError):  # after the end
            os.eventfd_write(self._wake, 1)

    def inject(self, packet: bytes | bytearray | memoryview, number: int) -> bool:
        """Send a packet on behalf of a filter; from any thread."""
        if threading.get_ident() == self._thread:
            return self._end is not None and self._end.inject(packet, number)
        if len(self._injected) >= INJECTED_MAX:
            return False
        self._injected.append((bytes(packet), number))
        self.call_soon(self._inject_waiting)
        return True

    def _turn(self) -> None:
        """Wait for something, and do it; packets are treated by the way."""
        deadline = self._timers.next_deadline()
        for descriptor in self._wait(-1.0 if deadline == math.inf else max(0.0, deadline - self._clock())):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif descriptor == self._control.fileno():
                self._reports.send_waiting()
                self._read_frames()
        while self._calls:
            self._calls.popleft()()
        if deadline != math.inf and deadline <= self._clock():
            for function in self._timers.due():
                function()
        if self._end is not None:
            self._end.flush()

    def _wait(self, seconds: float) -> list[int]:
        if self._end is not None:
            return self._end.attend(self._epoll, seconds, self._dispatcher)
        return [descriptor for descriptor, _ in self._epoll.poll(seconds)]

    def _read_frames(self) -> None:
        for _ in range(FRAMES_MAX):
            try:
                received = frames.receive_to_container(self._control)
            except BlockingIOError:
                return
            except RemoteProtocolError as error:
                self._reports.send(Log(0, "error", str(error)))
                continue
            if received is None:
                self._open = False
                return
            self._obey(*received)

    def _obey(self, message: ToContainer, descriptors: list[int]) -> None:
        match message:
            case AttachRing():
                self._attach(descriptors)
            case Load():
                self._load(message, descriptors)
            case Filters(module=module, filters=filters):
                if module in self._modules:
                    self._modules[module].give(filters)
            case Unload(module=module):
                if module in self._modules:
                    self._wait(0.0)  # packets are treated, and what the kernel has counted for it last
                    self._modules[module].end()
                else:
                    self._reports.send(Unloaded(module))
            case Ping(number=number):
                self._reports.send(Pong(number))
            case Connected():
                self._connects.answered(message, descriptors)

    def _load(self, load: Load, descriptors: list[int]) -> None:
        if load.module in self._modules or len(self._modules) >= MODULES_MAX:
            close_all(descriptors)
            why = "is there already" if load.module in self._modules else f"would be one of more than {MODULES_MAX}"
            self._reports.send(Failed(load.module, "load", f"module {load.module} {why}"))
            return
        hosted = Hosted(load, descriptors, self._shared, self._dispatcher, self.call_soon, self._forget)
        self._modules[load.module] = hosted
        hosted.begin()
        give_back()

    def _forget(self, module: int) -> None:
        self._modules.pop(module, None)
        self._told.pop(module, None)
        gc.collect()

    def _attach(self, descriptors: list[int]) -> None:
        try:
            end = BoxEnd(*descriptors)
        except RemoteProtocolError as error:
            close_all(descriptors)
            self._reports.send(Log(0, "error", str(error)))
            return
        self._detach()
        self._end, self._end_descriptors = end, descriptors
        self._epoll.register(end.fileno(), select.EPOLLIN)

    def _detach(self) -> None:
        if self._end is not None:
            self._epoll.unregister(self._end.fileno())
            with suppress(BufferError):  # a module has kept a packet
                self._end.close()
            close_all(self._end_descriptors)
            self._end = None

    def _inject_waiting(self) -> None:
        while self._injected:
            packet, number = self._injected.popleft()
            if self._end is not None:
                self._end.inject(packet, number)

    def _tell_metrics(self) -> None:
        for number, hosted in self._modules.items():
            metrics: Any = hosted.context.metrics if hosted.context is not None else ()
            if len(metrics):
                values = metrics.values()
                if values != self._told.get(number):
                    self._told[number] = values
                    self._reports.send(Metrics(number, values))

    def _wait_for_room(self, waits: bool) -> None:
        self._epoll.modify(self._control, select.EPOLLIN | (select.EPOLLOUT if waits else 0))

    def _servers_died(self, error: BaseException) -> None:
        self._reports.send(Log(0, "critical", failure_text(error)))
        self._broken = error
        self.call_soon(self._stop)

    def _stop(self) -> None:
        self._open = False

    def _close(self) -> None:
        self._reports.on_waiting = lambda _: None
        self._epoll.unregister(self._control)
        for hosted in list(self._modules.values()):
            hosted.end()
        end = self._clock() + LINGER_S
        while self._modules and self._clock() < end and self._broken is None:
            if self._epoll.poll(end - self._clock(), 1):
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            while self._calls:
                self._calls.popleft()()
        self._servers.close(LINGER_S)
        self._detach()
        self._epoll.close()
        # A thread that is left writes to no descriptor that another file has got since.
        wake, self._wake = self._wake, -1
        os.close(wake)
