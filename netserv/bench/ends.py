"""The ends of a path, as a process in their network namespace: sends, counts what comes, and takes the time.

The generator gives way to all that treats packets, and has no more than a window of them under way. So all that is
measured is on one processor, nothing waits for long, and little is lost. Where the router has a processor of its own,
it sends by the clock instead.
"""

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from netserv.bench import orders, traffic
from netserv.errors import NetservError
from netserv.forwarding import bpf

SLICE_S: Final = 0.025
"Of sending, before what is lost is written off."
DRAIN_S: Final = 0.02
"Longest wait for what is under way: four times the deadline of the packet path."
CALIBRATE_S: Final = 0.05
PERIOD_S: Final = 0.001
"Between two packets whose delay is measured: nothing is left of the one before."
LOST_S: Final = 0.05
_SCHED_SETATTR: Final = 314 if os.uname().machine == "x86_64" else 274
_SLICE_NS: Final = 100_000
_FOREVER: Final = 0xFFFF_FFFF
_KEY: Final = bytes(4)
_COUNTERS: Final = struct.Struct("=QQQQQQ16xQ")
"As in `traffic`."
QUIET_S: Final = 0.005
"Without a packet, after which none is under way: no packet waits longer for a module."
QUIET_MAX_S: Final = 0.25
_EVERYTHING: Final = 3
_IGNORE_OUTGOING: Final = 23
_TIMESTAMP: Final = 35
"SO_TIMESTAMPNS."
_TIMESPEC: Final = struct.Struct("=qq")


@contextmanager
def giving_way() -> Iterator[None]:
    """Have everybody else go first, and interrupt this process within 0.1 ms."""
    group = Path("/proc/self/autogroup")  # sessions are groups of their own, which share alike
    try:
        _schedule(os.SCHED_BATCH, 19, _SLICE_NS)
        with suppress(OSError):
            group.write_text("19")
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0, 0)
        with suppress(OSError):
            group.write_text("0")


def _schedule(policy: int, nice: int, slice_ns: int) -> None:
    attributes = struct.pack("=IIQiIQQQ", 48, policy, 0, nice, 0, slice_ns, 0, 0)
    ctypes.CDLL(None).syscall(_SCHED_SETATTR, 0, attributes, 0)


class Ends:
    """Sends at `s0`; packets come at `d0`, and answers at `s0`."""

    def __init__(self) -> None:
        self._counters = bpf.create_map(bpf.ARRAY, 4, traffic.COUNTERS_BYTES, 1)
        program = bpf.load_classifier(traffic.counter(self._counters))
        for name in ("s0", "d0"):
            bpf.attach_classifier(program, socket.if_nametoindex(name))
        self._programs: dict[tuple[bytes, int, bool], int] = {}
        signal.signal(signal.SIGALRM, lambda *_: None)
        with giving_way():
            self._withheld_s = self._calibrate()
        "Processor time of a frame that is not sent."

    def do(self, order: orders.Order) -> orders.Answer:
        """Do as told.

        Raises:
            NetservError: the kernel does not give what is needed.
        """
        match order:
            case orders.Generate():
                with giving_way():
                    return self._generate(order)
            case orders.Offer():
                with giving_way():
                    return self._offer(order)
            case orders.Time():
                return _timed(order)
            case _:
                return orders.Refused(reason="this is not for the ends of a path")

    def _calibrate(self) -> float:
        sent = traffic.frame(64)
        _, _, withheld, used_s = self._slice(self._program(sent, 1), sent, 0, CALIBRATE_S)
        return used_s / max(withheld, 1)

    def _program(self, sent: bytes, flows: int, *, by_clock: bool = False) -> int:
        key = sent, flows, by_clock
        if key not in self._programs:
            code = traffic.generator(socket.if_nametoindex("s0"), sent, self._counters, flows, by_clock=by_clock)
            self._programs[key] = bpf.load_xdp(code)
        return self._programs[key]

    def _generate(self, order: orders.Generate) -> orders.Generated:
        sent = traffic.frame(order.bytes, notify=order.notify)
        program = self._program(sent, order.flows)
        all_sent, all_came, used_s = 0, 0, 0.0
        end = time.monotonic() + order.seconds
        while time.monotonic() < end:
            left, came, withheld, used = self._slice(program, sent, order.window, SLICE_S)
            all_sent, all_came = all_sent + left, all_came + came
            used_s += used - withheld * self._withheld_s
        return orders.Generated(sent=all_sent, came=all_came, used_s=used_s)

    def _slice(self, program: int, sent: bytes, window: int, seconds: float) -> tuple[int, int, int, float]:
        """Send for a moment; packets sent, come and withheld, and processor time."""
        bpf.update(self._counters, _KEY, _COUNTERS.pack(0, 0, window, 0, 0, 0, 0))
        used_s = time.process_time()
        _run_for(program, sent, seconds)
        used_s = time.process_time() - used_s
        end = time.monotonic() + DRAIN_S
        while (counted := self._read())[0] > counted[-1] and time.monotonic() < end:
            time.sleep(PERIOD_S / 2)
        return counted[0], counted[-1], counted[1], used_s

    def _offer(self, order: orders.Offer) -> orders.Offered:
        sent = traffic.frame(order.bytes, notify=order.notify)
        program = self._program(sent, 1, by_clock=True)
        interval = round(1e9 * traffic.TICKS / order.packets_per_s)
        bpf.update(self._counters, _KEY, _COUNTERS.pack(0, 0, 0, 0, interval, 0, 0))
        _run_for(program, sent, order.seconds)
        all_sent, _, _, _, _, ticks, came = self._read()
        # Until the time of the frame after the last one: the kernel takes 20 ms to begin and to end.
        seconds = ticks / traffic.TICKS / 1e9
        under_way = all_sent - came
        heard_at, end = time.monotonic(), time.monotonic() + QUIET_MAX_S
        while came < all_sent and (now := time.monotonic()) < min(heard_at + QUIET_S, end):
            time.sleep(PERIOD_S / 2)
            before, came = came, self._read()[-1]
            heard_at = now if came > before else heard_at
        return orders.Offered(sent=all_sent, came=came, under_way=under_way, seconds=seconds)

    def _read(self) -> tuple[int, ...]:
        return _COUNTERS.unpack(bpf.lookup(self._counters, _KEY, traffic.COUNTERS_BYTES))


def _run_for(program: int, sent: bytes, seconds: float) -> None:
    """Run the generator for a time.

    Raises:
        SystemRefusedError: the kernel cannot.
    """
    # Again and again: an alarm that comes before the call would not end it.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        bpf.run_live(program, sent, _FOREVER)
    except bpf.BpfError as error:
        if error.errno != errno.EINTR:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _timed(order: orders.Time) -> orders.Timed:
    sent = traffic.frame(order.bytes, notify=order.notify)
    delays_us: list[float] = []
    lost = 0
    with _tap("s0") as sender, _tap("d0") as receiver:
        poll = select.poll()
        for each in (sender, receiver):
            poll.register(each, select.POLLIN)
        next_at = time.monotonic()
        end = next_at + order.seconds
        while next_at < end:
            time.sleep(max(0.0, next_at - time.monotonic()))
            next_at = time.monotonic() + PERIOD_S
            data = traffic.varied(sent, len(delays_us))
            begun_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            sender.send(data)
            ready = poll.poll(LOST_S * 1000)
            if not ready:
                lost += 1
            for descriptor, _ in ready:
                came = sender if descriptor == sender.fileno() else receiver
                delays_us.append((_read_time_ns(came) - begun_ns) / 1000)
    return orders.Timed(delays_us=delays_us, lost=lost)


def _tap(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    sock.bind((interface, _EVERYTHING))
    sock.setsockopt(263, _IGNORE_OUTGOING, 1)  # SOL_PACKET
    sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
    return sock


def _read_time_ns(sock: socket.socket) -> int:
    _, control, _, _ = sock.recvmsg(2_048, 64)
    seconds, nanoseconds = _TIMESPEC.unpack(control[0][2][: _TIMESPEC.size])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def main() -> int:
    """Serve until the command goes."""
    ends: Ends | None = None
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            order = orders.order_decoder.decode(line)
            answer: orders.Answer = orders.Done()
            try:
                if not isinstance(order, orders.Hello):
                    ends = ends or Ends()
                    answer = ends.do(order)
            except (NetservError, OSError) as error:
                answer = orders.Refused(reason=str(error))
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
