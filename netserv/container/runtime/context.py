"""What a module has of its node: the context of `netserv.modules.api`, made of the parts of the runtime."""

import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import trio

from netserv.container.datagrams import DatagramSocket
from netserv.container.descriptors import close_all
from netserv.container.messages import Load
from netserv.container.runtime.connects import Connects
from netserv.container.runtime.packet_timers import PacketTimers, Ticker
from netserv.container.runtime.reports import LogFrames, Reports, Strikes
from netserv.container.runtime.servers import ServerThread, Tasks
from netserv.container.runtime.services import ModuleServices, Registry
from netserv.errors import LocalProtocolError
from netserv.modules.api import Context
from netserv.modules.blocks import BLOCKS
from netserv.modules.blocks.http_client import HttpClient
from netserv.modules.blocks.metrics import Metrics
from netserv.modules.blocks.timers import INTERVAL_MIN_S

STORAGE: Final = "storage"
"Directory below the private one of the publisher, with one for each name of a module."
TIMERS_MAX: Final = 1_024
"Of one module at a time; more are for a `Timers` of its own."


class Shared(msgspec.Struct, frozen=True):
    """What all modules of a container use."""

    reports: Reports
    timers: PacketTimers
    servers: ServerThread
    connects: Connects
    registry: Registry
    clock: Callable[[], float]
    inject: Callable[[Any, int], bool]
    "Sends a packet on behalf of a filter, from any thread."


class ModuleContext(Context):
    """The context of one module.

    Args:
        load: what the node has said of it.
        descriptors: its listening sockets.
        shared: parts that it has in common with others.
        over: is called when all its tasks have ended.
    """

    def __init__(self, load: Load, descriptors: list[int], shared: Shared, over: Callable[[], None]) -> None:
        self.name, self.version = load.name, load.version
        self.properties: Mapping[str, str] = MappingProxyType(dict(load.properties))
        self.blocks = BLOCKS
        self.metrics = Metrics()
        self.services = ModuleServices(shared.registry, load.module, frozenset(load.exports))
        self.http = HttpClient(self.connect)
        self.storage = Path.cwd() / STORAGE / load.name
        self.strikes = Strikes(shared.reports, load.module, shared.clock)
        self.tasks = Tasks(shared.servers, self.strikes.strike, over)
        self._shared, self._load = shared, load
        self._ports = list(zip(load.ports, descriptors, strict=True))
        self._opened: list[socket.socket | DatagramSocket] = []
        self._tickers: set[Ticker] = set()
        self.packet_filter = load.filters[0] if load.filters else 0
        "The number that packets of its own bear."
        self.log = logging.getLogger(f"module.{load.module}")
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        self.log.handlers = [LogFrames(shared.reports, load.module, shared.clock)]

    def listen(self, port: int | None = None, proto: str = "tcp") -> trio.SocketListener | DatagramSocket:
        """See `Context.listen`."""
        for index, ((kind, number), descriptor) in enumerate(self._ports):
            if kind == proto and port in {None, number}:
                del self._ports[index]
                if proto == "udp":
                    datagrams = DatagramSocket(descriptor)
                    self._opened.append(datagrams)
                    return datagrams
                opened = socket.socket(fileno=descriptor)
                self._opened.append(opened)
                opened.setblocking(False)
                return trio.SocketListener(trio.socket.from_stdlib_socket(opened))
        have = ", ".join(f"{kind} {number}" for kind, number in self._load.ports) or "none"
        raise LocalProtocolError(
            f"no {proto} port{'' if port is None else f' {port}'} to listen on: granted are {have}, each once; "
            "name it in module.toml, and ask the operator"
        )

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """See `Context.connect`."""
        return await self._shared.connects.connect(self._load.module, host, port)

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """See `Context.spawn`."""
        self.tasks.spawn("server", function, *arguments)

    def every(self, seconds: float, function: Callable[[], Any]) -> Ticker:
        """See `Context.every`."""
        return self._timer(max(seconds, INTERVAL_MIN_S), function, again=True)

    def after(self, seconds: float, function: Callable[[], Any]) -> Ticker:
        """See `Context.after`."""
        return self._timer(seconds, function, again=False)

    def inject(self, packet: bytes | bytearray | memoryview) -> bool:
        """See `Context.inject`."""
        return self._shared.inject(packet, self.packet_filter)

    def report(self, error: BaseException) -> None:
        """See `Context.report`."""
        self.strikes.strike("server", error)

    def runs_on_servers(self, function: Callable[..., Any]) -> bool:
        """Whether a function of the module is for the server thread."""
        return self._load.kind == "server" or inspect.iscoroutinefunction(function)

    def cancel_timers(self) -> None:
        """Call none of them any more."""
        for ticker in list(self._tickers):
            ticker.cancel()

    def close(self) -> None:
        """Close sockets and forget services, when nothing of the module runs any more."""
        self.cancel_timers()
        self._shared.registry.remove_all(self._load.module)
        for opened in self._opened:
            opened.close()
        close_all([descriptor for _, descriptor in self._ports])
        self._ports.clear()
        self.log.handlers = []
        logging.Logger.manager.loggerDict.pop(self.log.name, None)

    def _timer(self, seconds: float, function: Callable[[], Any], *, again: bool) -> Ticker:
        if len(self._tickers) >= TIMERS_MAX:
            raise LocalProtocolError(f"a module has at most {TIMERS_MAX} timers; cancel some")
        ticker = Ticker(function, lambda error: self.strikes.strike("timer", error), self._tickers.discard)
        self._tickers.add(ticker)
        if self.runs_on_servers(function):
            self.tasks.spawn("timer", ticker.run, seconds, again)
        else:
            self._shared.timers.add(ticker, seconds, again=again)
        return ticker
