"""What modules are written against: an activator that the node starts and stops, and the context that it gets.

The model is that of OSGi bundles, in Python. A module is a directory of Python files with a `module.toml` that names
one class, its activator:

    from netserv.modules.api import ACCEPT, DROP, Activator, Context, Packet, Verdict

    class Guard(Activator):
        def start(self, context: Context) -> None:
            self.port = int(context.properties.get("port", "5060"))

        def process(self, packet: Packet) -> Verdict:
            return DROP if packet.dport == self.port else ACCEPT

**Which thread.** A container has two. Packets come on the *packet thread*; all that is asynchronous (trio) runs on
the *server thread*. In a module of kind `server` everything runs on the server thread. In one of kind `packet` or
`both` plain functions (`start`, `stop`, `process`, timers) run on the packet thread and `async` ones on the server
thread; they share their objects, so that what both change has to be safe for threads, as single operations on dicts and
counters are. A plain function on the packet thread that takes milliseconds delays packets of all modules of the
publisher: past the node's deadline (5 ms by default) they pass or are dropped without it.

**What there is not.** No sockets but those of `listen` and `connect`, no processes, no native code that was not there
before, no files but below `storage`. The kernel says no, with `OSError` or `PermissionError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from netserv.modules.packets import Packet

if TYPE_CHECKING:
    import logging

    import trio

    from netserv.modules.blocks.http_client import HttpClient
    from netserv.modules.blocks.metrics import Metrics

__all__ = [
    "ACCEPT",
    "ACCEPT_FLOW",
    "CHANGED",
    "COUNT_FLOW",
    "DROP",
    "Activator",
    "Answer",
    "Context",
    "Counted",
    "DatagramSocket",
    "Packet",
    "Registration",
    "Services",
    "Timer",
    "Verdict",
]


class Verdict(IntEnum):
    """What becomes of a packet. The numbers are those of the packet ring."""

    ACCEPT = 1
    "It goes on as it is, to the next module and then on its way."
    DROP = 2
    "It goes no further; modules behind this one do not see it."
    CHANGED = 3
    "It goes on as `packet.raw` is now; the module has changed it in place and called `packet.refresh()`."
    ACCEPT_FLOW = 4
    "It goes on, and the node may let the following packets of this flow pass without asking."
    COUNT_FLOW = 6
    "As `ACCEPT_FLOW`, and the activator's `counted` is told of those packets that were not shown."


ACCEPT: Final = Verdict.ACCEPT
DROP: Final = Verdict.DROP
CHANGED: Final = Verdict.CHANGED
ACCEPT_FLOW: Final = Verdict.ACCEPT_FLOW
COUNT_FLOW: Final = Verdict.COUNT_FLOW

Answer: TypeAlias = Verdict | Packet | bytes | bytearray | memoryview
"""A verdict, or the whole packet that is to go on instead, as `packet.replaced` and `packet.reply` give it. Anything
else, None too, is a fault of the module, and its failure policy decides."""


class Counted(NamedTuple):
    """What the node has counted of one flow since it said so last."""

    src: bytes
    "Source address, packed."
    dst: bytes
    sport: int
    dport: int
    proto: int
    ttl: int
    "As `Packet.ttl` would have shown it; packets of the same ends with another one are another flow."
    packets: int
    size: int
    "Bytes of all of them, with their IP headers."


class Activator:
    """Base of activators; the node makes one object of it, without arguments, for each time the module is installed.

    A module for packets has `process` as well, or `process_batch`, or both:

        def process(self, packet: Packet) -> Answer
        def process_batch(self, packets: Sequence[Packet]) -> Sequence[Answer] | Verdict

    `process_batch` gets up to 256 packets at once, the oldest first, and gives an answer for each, in their order, or
    one verdict for all. Where both are there, batches of fewer than `batch_least` go to `process`, packet by packet:
    code that pays off for many is slow for one.

    One that answers `COUNT_FLOW` counts the packets that it sees, and has the others told:

        def counted(self, flows: Sequence[Counted]) -> None

    It is called on the packet thread, between packets: for each flow about once a second, and a last time before
    `stop`. What a module is shown is not told, what is told was not shown.
    """

    batch_least: int = 16

    def start(self, context: "Context") -> Any:
        """Begin; may be `async`. Packets come and the installation counts as done once it has returned.

        It has 8 s. What it raises makes the installation fail, with the text for the publisher.
        """

    def stop(self) -> Any:
        """End; may be `async`, and has 1.5 s. Timers, tasks, sockets and services of the module end by themselves."""


class Timer(Protocol):
    """What `every` and `after` give."""

    def cancel(self) -> None:
        """Do not call any more; more than once does no harm."""


class Registration(Protocol):
    """A service that is registered."""

    def withdraw(self) -> None:
        """Take it back; more than once does no harm."""


class Services(Protocol):
    """Objects that modules of one publisher offer each other, by name and properties (OSGi's service registry)."""

    def register(self, name: str, service: object, **properties: str | float) -> Registration:
        """Offer an object.

        Args:
            name: dotted. Other modules find it only if `exports` in `module.toml` has it.
            service: is handed out as it is; others may call it from both threads.
            properties: to choose by. `rank`, a number, puts a service before others of its name (0).

        Raises:
            LocalProtocolError: the module offers too many (64).
        """

    def find(self, name: str, where: str = "") -> Any:
        """The best service of a name, or None.

        Args:
            name: as it was registered.
            where: a filter on properties as in RFC 4515 and OSGi: `(&(lang=en)(rank>=2)(!(beta=*)))`.

        Raises:
            LocalProtocolError: the filter is none.
        """

    def find_all(self, name: str, where: str = "") -> Sequence[Any]:
        """All of them, the one of the highest rank first, and of equal ones that which came first."""


class DatagramSocket(Protocol):
    """A UDP port, as `Context.listen` gives it."""

    async def recvfrom(self, size: int = 65_507) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, cut to a size, and address and port of its sender."""
        ...

    async def sendto(self, payload: bytes, address: tuple[str, int]) -> int:
        """Send one."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


class Context(ABC):
    """What a module has of its node."""

    name: str
    "Of the module."
    version: str
    properties: Mapping[str, str]
    "Of the request that installed it."
    log: "logging.Logger"
    "Lines go to the node's log of this module; a line is cut at 4,096 characters, and at most 100 a second are kept."
    storage: Path
    """A directory of the module that outlives it: the same for each version and installation of its name, until the
    operator removes it. The publisher's limit of disk space is for all his modules together."""
    services: Services
    metrics: "Metrics"
    "Counters that the node shows: `context.metrics.counter('answered').add()`."
    http: "HttpClient"
    "`await context.http.get(url)`; connections as `connect` makes them."
    blocks: Mapping[str, str]
    "Building blocks of this node and their versions; import them from `netserv.modules.blocks`."

    @abstractmethod
    def listen(self, port: int | None = None, proto: str = "tcp") -> "trio.SocketListener | DatagramSocket":
        """The listening socket of a port; once for each. From the server thread only.

        Args:
            port: one of `ports` in `module.toml` that the operator granted; None: the first of `proto`.
            proto: `tcp` or `udp`.

        Returns:
            For TCP a listener, for `trio.serve_listeners` or the block `http_server`; for UDP what has `recvfrom` and
            `sendto`. The node sends for it to those who have sent there first, and to where it may connect.

        Raises:
            LocalProtocolError: there is no such port for this module.
        """

    @abstractmethod
    async def connect(self, host: str, port: int) -> "trio.SocketStream":
        """Connect by TCP, through the node.

        Args:
            host: an address or name; the node looks it up.
            port: of it.

        Raises:
            UnreachableError: nobody is there, or the operator does not allow it.
        """

    @abstractmethod
    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run an `async` function in the background until it returns or the module ends. From any thread.

        What it raises is reported as a fault of the module; the rest of it goes on.
        """

    @abstractmethod
    def every(self, seconds: float, function: Callable[[], Any]) -> Timer:
        """Call a function again and again, the first time after `seconds`; at least 0.01."""

    @abstractmethod
    def after(self, seconds: float, function: Callable[[], Any]) -> Timer:
        """Call a function once."""

    @abstractmethod
    def inject(self, packet: bytes | bytearray | memoryview) -> bool:
        """Send a packet of the module's own, from its first byte of IP on. From any thread.

        Returns:
            Whether there was room for it. The node sends it only if it is of the module's filter, of the reverse flow,
            or between addresses that the publisher may use, and counts it otherwise.
        """

    @abstractmethod
    def report(self, error: BaseException) -> None:
        """Tell the node of an error that was caught: a strike against the module, with the traceback in its log."""
