"""The node's side of a plane: it starts the packet broker, tells it what to do, and starts it anew when it dies."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Self

import trio

from netserv.errors import LocalProtocolError, NetservError, SystemRefusedError
from netserv.forwarding import broker_messages as messages
from netserv.forwarding.base import (
    FILTERS_MAX,
    PORTS_MAX,
    PREMATCH_OFFSET_MAX,
    PREMATCHES_MAX,
    Counters,
    PlaneConfig,
    RingCounters,
)
from netserv.forwarding.chains import remove_chains
from netserv.forwarding.filters import PROTOCOLS, PacketFilter, Prefix
from netserv.forwarding.matching import Rule
from netserv.forwarding.ring import Ring
from netserv.modules.manifest import PREMATCH_MAX, FailurePolicy
from netserv.signaling.gist.addresses import GIST_PORT

log = logging.getLogger(__name__)

ANSWER_S: Final = 30.0
"Longest wait for the broker: it starts three programs at most, of 10 s each."
END_S: Final = 10.0
"Longest wait for its end, in which it removes its rules."
PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"Before each new start of a broker that dies again and again; the first one is at once."


class BrokerPlane:
    """A `ForwardingPlane` by a broker.

    Args:
        name: `netfilter`, `xdp` or `xdp+stack`.
        config: settings.
    """

    def __init__(self, name: str, config: PlaneConfig | None = None) -> None:
        self.name = name
        self.warnings: tuple[str, ...] = ()
        self.compiled = False
        "Whether the broker uses its compiled part."
        self.refused: tuple[str, ...] = ()
        "Why planes before this one are not to be had, where it was chosen by `auto`."
        self.restarts = 0
        self._config = config or PlaneConfig()
        self._open = AsyncExitStack()
        self._lock = trio.Lock()
        self._rules: dict[int, Rule] = {}
        self._rings: dict[int, Ring | None] = {}
        "By the number of the filter."
        self._sent: dict[int, int] = {}
        "Numbers of rings that the broker has, by the id of the ring."
        self._last_filter = self._last_ring = 0
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self._end)
            await self._start()
            nursery = await opened.enter_async_context(trio.open_nursery())
            opened.callback(nursery.cancel_scope.cancel)
            nursery.start_soon(self._watch)
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def broker_pid(self) -> int | None:
        """The process of the broker; None while there is none."""
        return None if self._process is None else self._process.pid

    async def install(
        self, wanted: PacketFilter, ring: Ring | None, policy: FailurePolicy, allowed: tuple[Prefix, ...]
    ) -> int:
        """Hand packets to a container from now on; returns the number of the filter, which is never used again.

        Raises:
            LocalProtocolError: the filter is out of bounds.
            SystemRefusedError: the kernel does not take it, or there is no broker now.
        """
        check(wanted)
        if len(self._rules) >= FILTERS_MAX:
            raise SystemRefusedError(f"this node has {FILTERS_MAX} packet filters, and takes no more")
        async with self._lock:
            self._last_filter += 1
            rule = Rule(number=self._last_filter, wanted=wanted, closed=policy == "closed", allowed=allowed)
            await self._say_install(rule, ring)
            self._rules[rule.number], self._rings[rule.number] = rule, ring
            return rule.number

    async def attach(self, number: int, ring: Ring | None) -> None:
        """Have packets of a filter go to another ring; None: there is no container now.

        Raises:
            LocalProtocolError: there is no such filter.
        """
        async with self._lock:
            self._known(number)
            ring_number, fresh, descriptors = self._ring_words(ring)
            self._rings[number] = ring
            await self._ask(messages.Attach(number=number, ring=ring_number, fresh=fresh), descriptors)
            self._forget_rings()

    async def remove(self, number: int) -> None:
        """Take a filter away; packets of it that wait go their way.

        Raises:
            LocalProtocolError: there is no such filter.
        """
        async with self._lock:
            self._known(number)
            await self._ask(messages.Remove(number))
            del self._rules[number], self._rings[number]
            self._forget_rings()

    async def counters(self) -> dict[int, Counters]:
        """Of each filter, by its number, since the broker was started."""
        return (await self._counted())[0]

    async def ring_counters(self) -> dict[int, RingCounters]:
        """What containers do with their rings, by the number of a filter of theirs."""
        filters, rings = await self._counted()
        found = {}
        for number in filters:
            ring = self._rings.get(number)
            if ring is not None and (counted := rings.get(self._sent.get(id(ring), 0))) is not None:
                found[number] = RingCounters(**counted)
        return found

    async def _counted(self) -> tuple[dict[int, Counters], dict[int, dict[str, int]]]:
        filters: dict[int, Counters] = {}
        rings: dict[int, dict[str, int]] = {}
        async with self._lock:
            numbers = sorted(self._rules)
            for first in range(0, len(numbers), messages.COUNTED_MAX):
                answer = await self._ask(messages.Count(tuple(numbers[first : first + messages.COUNTED_MAX])))
                if isinstance(answer, messages.Counted):
                    filters.update(answer.filters)
                    rings.update(answer.rings)
        return filters, rings

    async def _say_install(self, rule: Rule, ring: Ring | None) -> None:
        number, fresh, descriptors = self._ring_words(ring)
        try:
            await self._ask(messages.Install.of(rule, number, fresh=fresh), descriptors)
        except NetservError:
            if fresh and ring is not None:
                self._sent.pop(id(ring), None)
            raise

    def _ring_words(self, ring: Ring | None) -> tuple[int, bool, Sequence[int]]:
        """Number of a ring, whether the broker does not have it yet, and its descriptors then."""
        if ring is None:
            return 0, False, ()
        number = self._sent.get(id(ring))
        if number is not None:
            return number, False, ()
        self._last_ring += 1
        self._sent[id(ring)] = self._last_ring
        return self._last_ring, True, ring.broker_descriptors

    def _forget_rings(self) -> None:
        used = {id(ring) for ring in self._rings.values() if ring is not None}
        self._sent = {key: number for key, number in self._sent.items() if key in used}

    def _known(self, number: int) -> None:
        if number not in self._rules:
            raise LocalProtocolError(f"there is no packet filter {number}")

    async def _ask(self, message: messages.ToBroker, descriptors: Sequence[int] = ()) -> messages.FromBroker:
        control = self._control
        if control is None:
            raise SystemRefusedError("the packet broker has died and is being started anew: try again")
        with trio.CancelScope(shield=True):  # an answer that nobody reads would be taken for that to the next question
            try:
                with trio.fail_after(ANSWER_S):
                    await trio.lowlevel.wait_writable(control)
                    socket.send_fds(control, [messages.encode(message)], list(descriptors))
                    await trio.lowlevel.wait_readable(control)
                    frame = control.recv(messages.FRAME_MAX)
            except (OSError, trio.TooSlowError) as error:
                self._kill()
                raise SystemRefusedError(f"the packet broker does not answer: {error}") from error
        if not frame:
            raise SystemRefusedError("the packet broker has died and is being started anew: try again")
        answer = messages.decode_from(frame)
        if isinstance(answer, messages.Refused):
            raise SystemRefusedError(answer.reason)
        return answer

    async def _start(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with there:
            here.setblocking(False)
            try:
                # Not the directory that this process happens to be in: the broker has power over the network.
                words = [sys.executable, "-P", "-m", "netserv.forwarding.broker", str(there.fileno())]
                self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and an exec; its end is waited for in `_watch`
                    words, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                here.close()
                raise SystemRefusedError(f"the packet broker cannot be started: {error}") from error
        self._control = here
        config = self._config
        started = await self._ask(
            messages.Start(
                plane=self.name,
                deadline_s=config.deadline_s,
                coalesce_s=config.coalesce_s,
                queue_base=config.queue_base,
                queue_max=config.queue_max,
                interfaces=config.interfaces,
                flows_max=config.flows_max,
                compiled=config.compiled,
            )
        )
        if isinstance(started, messages.Started):
            self.warnings, self.compiled = started.warnings, started.compiled

    async def _watch(self) -> None:
        """Start the broker anew whenever it dies, with all filters under their numbers."""
        lives = 0
        while True:
            process, born = self._process, trio.current_time()
            if process is None:
                return
            status = await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            if trio.current_time() - born > PAUSES_S[-1]:
                lives = 0
            log.warning("the packet broker ended with status %d; it is started anew", status)
            async with self._lock:
                self._close_control()
                await trio.to_thread.run_sync(remove_chains)
            await trio.sleep(PAUSES_S[min(lives, len(PAUSES_S) - 1)])
            lives += 1
            await self._revive()

    async def _revive(self) -> None:
        async with self._lock:
            self._sent.clear()
            self.restarts += 1
            try:
                await self._start()
            except SystemRefusedError as error:
                log.warning("packets go to no module: %s", error)
                return
            for number, rule in self._rules.items():
                try:
                    await self._say_install(rule, self._rings[number])
                except SystemRefusedError as error:
                    log.warning("packets of filter %d go to no module: %s", number, error)

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _end(self) -> None:
        """Have the broker remove everything and end; where it does not, do it here."""
        self._close_control()
        process = self._process
        if process is None:
            return
        with trio.CancelScope(shield=True):
            with trio.move_on_after(END_S):
                await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            if process.poll() is None:
                self._kill()
                await trio.to_thread.run_sync(process.wait)
            if process.returncode:
                await trio.to_thread.run_sync(remove_chains)


def check(wanted: PacketFilter) -> None:
    """Check the bounds of a filter.

    Raises:
        LocalProtocolError: it is out of them; the text says what to change.
    """
    if wanted.proto not in PROTOCOLS:
        raise LocalProtocolError(f"a packet filter is for udp or tcp, not {wanted.proto}")
    if not 0 < len(wanted.ports) <= PORTS_MAX or not all(0 < each <= 0xFFFF for each in wanted.ports):
        raise LocalProtocolError(f"a packet filter has 1 to {PORTS_MAX} ports, of 1 to 65535")
    if GIST_PORT in wanted.ports:
        raise LocalProtocolError(f"packets to port {GIST_PORT} are signalling, and go to no module")
    if wanted.source is not None and wanted.source.version != wanted.destination.version:
        raise LocalProtocolError("source and destination of a packet filter are of different IP versions")
    if len(wanted.prematch) > PREMATCHES_MAX:
        raise LocalProtocolError(f"a packet filter has at most {PREMATCHES_MAX} prematches")
    for each in wanted.prematch:
        if not 0 < len(each.data) <= PREMATCH_MAX or not 0 <= each.offset <= PREMATCH_OFFSET_MAX:
            raise LocalProtocolError(
                f"a prematch has 1 to {PREMATCH_MAX} bytes at an offset of 0 to {PREMATCH_OFFSET_MAX}"
            )
