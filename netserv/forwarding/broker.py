"""The packet broker: the one process with power over the network that touches packets of modules.

It reads what the kernel hands over, lends it to containers, and decides by their verdicts, or without them when they
take too long. It is started by the node, does as told by one socket, and removes everything when that socket is closed:
by the node's end, of whatever kind. Commands are few and rare; in between `Engine.run` moves packets.
"""

import logging
import os
import secrets
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from typing import Final, Protocol

from netserv.errors import LocalProtocolError, NetservError, RemoteProtocolError, SystemRefusedError
from netserv.forwarding import broker_messages as messages
from netserv.forwarding import compiled, overlaps, privileges
from netserv.forwarding.engine import Engine, PythonEngine
from netserv.forwarding.matching import Rule
from netserv.forwarding.netfilter import NetfilterPart
from netserv.forwarding.xdp import XdpPart
from netserv.signaling.transport.raw import RawSender

log = logging.getLogger(__name__)

LOCK: Final = "\0netserv.path"
"Name of the abstract Unix socket that says who forwards for modules in this network namespace."
LAST_S: Final = 0.05
"After packets of a filter go by: whatever a processor was about to count comes within microseconds."
LAST_TURNS: Final = 4
"To take what is still to be told: each fills half of a ring at most, and all flows of a filter a quarter."
_CAPABILITIES: Final = {
    "netfilter": (privileges.NET_ADMIN, privileges.NET_RAW),
    # Sockets of AF_XDP lock their memory.
    "xdp": (privileges.NET_ADMIN, privileges.NET_RAW, privileges.BPF, privileges.PERFMON, privileges.IPC_LOCK),
}


class Part(Protocol):
    """What is of one plane only: how packets come."""

    warnings: tuple[str, ...]

    def install(self, rule: Rule) -> None:
        """Have packets of a filter that the engine knows come."""
        ...

    def attached(self, number: int, *, there: bool) -> None:
        """Know whether a filter has a container.

        Raises:
            SystemRefusedError: the kernel refuses.
        """
        ...

    def remove(self, number: int) -> None:
        """Have packets of a filter go by."""
        ...

    def counters(self, number: int) -> dict[str, int]:
        """What the kernel has counted of a filter, to be added to what the engine has."""
        ...

    def tidy(self) -> float | None:
        """Do what is due; seconds until the next time, None where nothing is."""
        ...

    def untold(self, number: int) -> bool:
        """Whether the kernel has counted flows of a filter of which its module may not have heard all."""
        ...

    def tell_last(self, number: int) -> None:
        """Tell a module the rest, once its packets go by."""
        ...

    def close(self) -> None:
        """Remove everything from the kernel."""
        ...


class Broker:
    """Does what the node says."""

    def __init__(self, control: socket.socket, engine: Engine, part: Part) -> None:
        self._control, self._engine, self._part = control, engine, part
        self._rules: dict[int, Rule] = {}
        self._ring_of: dict[int, int] = {}

    def serve(self) -> None:
        """Work until the node closes the socket."""
        self._control.setblocking(False)  # `recv_fds` of Python 3.11 forgets its flags
        while True:
            patience_s = self._part.tidy()
            self._engine.run(self._control.fileno(), -1.0 if patience_s is None else patience_s)
            try:
                frame, descriptors, _, _ = socket.recv_fds(self._control, messages.FRAME_MAX, messages.DESCRIPTORS_MAX)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return
            if not frame:
                return
            try:
                answer = self._do(messages.decode_to(frame), descriptors)
            except NetservError as error:
                answer = messages.Refused(str(error))
            except OSError as error:  # of memory, or of descriptors
                answer = messages.Refused(f"the packet broker cannot do that: {error}")
            with suppress(BrokenPipeError, ConnectionResetError):
                self._control.send(messages.encode(answer))

    def close(self) -> None:
        """Remove everything from the kernel; what waits goes on."""
        self._part.close()
        self._engine.close()

    def _do(self, message: messages.ToBroker, descriptors: list[int]) -> messages.FromBroker:
        match message:
            case messages.Install():
                self._install(message, descriptors)
            case messages.Attach(number=number):
                self._known(number)
                self._take_ring(message.ring, descriptors, fresh=message.fresh)
                before, self._ring_of[number] = self._ring_of[number], message.ring
                self._tell(number)
                self._drop_ring(before)
                self._part.attached(number, there=bool(message.ring))
            case messages.Remove(number=number):
                self._known(number)
                self._part.remove(number)
                self._tell_last(number)
                self._forget(number)
            case messages.Count(numbers=numbers):
                filters = {each: self._counters(each) for each in numbers if each in self._rules}
                rings = {
                    each: self._engine.ring_counters(each) for each in {self._ring_of[each] for each in filters} - {0}
                }
                return messages.Counted(filters, rings)
            case messages.Start():
                raise RemoteProtocolError("the broker has started already")
        return messages.Done()

    def _tell_last(self, number: int) -> None:
        """Let a module have all that the kernel has counted, before it is ended; other packets go on meanwhile."""
        for _ in range(LAST_TURNS):
            if not self._part.untold(number):
                return
            self._engine.run(self._control.fileno(), LAST_S)
            self._part.tell_last(number)

    def _counters(self, number: int) -> dict[str, int]:
        counted, kernel = self._engine.counters(number), self._part.counters(number)
        return {name: value + kernel.get(name, 0) for name, value in counted.items()}

    def _install(self, message: messages.Install, descriptors: list[int]) -> None:
        rule = message.rule()
        self._take_ring(message.ring, descriptors, fresh=message.fresh)
        self._rules[rule.number] = rule
        self._ring_of[rule.number] = message.ring
        try:
            for each in self._rules:
                if each == rule.number or overlaps.may_share(self._rules[each].wanted, rule.wanted):
                    self._tell(each)
            self._part.install(rule)
        except NetservError:
            self._forget(rule.number)
            raise

    def _take_ring(self, ring: int, descriptors: list[int], *, fresh: bool) -> None:
        if not fresh:
            return
        if len(descriptors) != messages.DESCRIPTORS_MAX:
            raise RemoteProtocolError(f"a ring came with {len(descriptors)} descriptors")
        self._engine.add_ring(ring, *descriptors)

    def _tell(self, number: int) -> None:
        wanted = {each: rule.wanted for each, rule in self._rules.items()}
        self._engine.add_filter(self._rules[number], self._ring_of[number], overlaps.later(number, wanted))

    def _forget(self, number: int) -> None:
        del self._rules[number]
        self._engine.remove_filter(number)
        self._drop_ring(self._ring_of.pop(number))

    def _drop_ring(self, ring: int) -> None:
        if ring and ring not in self._ring_of.values():
            self._engine.remove_ring(ring)

    def _known(self, number: int) -> None:
        if number not in self._rules:
            raise LocalProtocolError(f"there is no filter {number}")


def make(settings: messages.Start, opened: ExitStack) -> tuple[Engine, Part, bool]:
    """Make what moves packets and what has them come, and say whether the compiled part is used.

    Raises:
        SystemRefusedError: this machine does not give what is needed.
    """
    _claim(opened)
    raw = RawSender.open()
    opened.callback(raw.close)
    sequence = secrets.randbits(32)
    if settings.plane == "xdp" and not (settings.compiled and compiled.BUILT):
        raise SystemRefusedError(
            "the plane `xdp` needs the compiled part of this package: install it with a C compiler"
        )
    engine: Engine
    if settings.compiled and compiled.BUILT:
        sockets = (raw.descriptor(4), raw.descriptor(16))
        engine = compiled.CompiledEngine(
            settings.deadline_s, settings.coalesce_s, sockets, sequence=sequence, queue_max=settings.queue_max
        )
    else:
        engine = PythonEngine(settings.deadline_s, raw, sequence=sequence)
    opened.callback(engine.close)
    if isinstance(engine, compiled.CompiledEngine):
        part: Part = XdpPart(engine, settings) if settings.plane == "xdp" else NetfilterPart(engine, settings)
        return engine, part, True
    return engine, NetfilterPart(engine, settings), False


def _claim(opened: ExitStack) -> None:
    lock = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
    try:
        lock.bind(LOCK)
    except OSError as error:
        raise SystemRefusedError("another NetServ node forwards packets here: stop that one first") from error


def main(control: socket.socket) -> None:
    """Work for the node at the other end of a socket."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the node decides
    with ExitStack() as opened:
        frame = control.recv(messages.FRAME_MAX)
        if not frame:
            return
        try:
            settings = messages.decode_to(frame)
            if not isinstance(settings, messages.Start):
                raise RemoteProtocolError("the broker was not told its settings")
            privileges.keep_only(_CAPABILITIES[settings.plane])
            engine, part, fast = make(settings, opened)
        except NetservError as error:
            control.send(messages.encode(messages.Refused(str(error))))
            return
        broker = Broker(control, engine, part)
        opened.callback(part.close)
        control.send(messages.encode(messages.Started(part.warnings, fast)))
        broker.serve()


if __name__ == "__main__":
    logging.basicConfig(level=os.environ.get("NETSERV_BROKER_LOG", "WARNING"), format="%(message)s")
    with socket.socket(fileno=int(sys.argv[1])) as node:
        node.setblocking(True)
        main(node)
