"""The two neighbours of a node under load, each a program of its own on the hosts beside it.

    python -m tools.signalling_load left PLAN      opens sessions towards many hosts and refreshes them
    python -m tools.signalling_load right ADDRESS SOURCE VALIDITY   is the last node of all of them, until it is ended

`PLAN` is a JSON object, see `Plan`; `ADDRESS` is the right one's own, `SOURCE` the left one's. Answer times are from
the call that sends a Query to the kernel's time stamp of the Response: what this process does meanwhile is not in them.
"""

import json
import random
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.gist.tlv import ObjectType
from netserv.signaling.gist.wire import MAGIC, MessageType
from tools.signalling_bytes import Downstream, Upstream, address_of
from tools.signalling_requests import Requests, answer

BUFFER_BYTES: Final = 16 << 20
SOON_S: Final = 0.5
"What is not answered for so long is sent again."
AT_ONCE: Final = 32
"Messages sent, or received, before the other is looked at."
_KIND: Final = len(MAGIC) + 6
_TYPE: Final = 0x7F
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_STAMP: Final = struct.Struct("=qq")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the left neighbour does."""

    address: str
    "Its own."
    sessions: int
    first: int = 0
    "Number of the first one."
    seed: int = 1
    at_once: int = 64
    "Sessions that are being opened at a time."
    per_s: float = 1e9
    "Sessions opened a second."
    asks: bool = False
    "Each begins with a PROBE, which the right neighbour answers; else it is routing state only."
    is_signed: bool = False
    long: bool = False
    settle_s: float = 0.0
    "Of refreshing before it is measured; without it the sessions are only opened."
    measure_s: float = 0.0
    validity_s: float = 30.0
    "Of routing state, by which both neighbours of the node set the pace of refreshes."


class Left:
    """The left neighbour."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        source = packed(plan.address)
        self._peer = Upstream(source, plan.seed, plan.validity_s)
        self._requests = Requests(
            plan.seed, source, unix_now=int(time.time()), is_signed=plan.is_signed, long=plan.long
        )
        self._rng = random.Random(plan.seed)
        self._sock = _socket(plan.address)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._sent_ns: dict[int, int] = {}
        "When the last Query of a session went out that is not answered yet."
        self._open: dict[int, bytes | None] = {}
        "Sessions that are being opened, each with the request that is to be answered, once it was sent."
        self._again: deque[tuple[float, int]] = deque()
        self._refreshes: list[tuple[float, int]] = []
        self._node: tuple[str, int] = ("", 0)
        self.took_ns = array("q")
        self.measuring = False
        self.sent_again = 0

    def open_all(self) -> float:
        """Open the sessions, and keep alive those that stand already; return how long it took, s."""
        plan, begun = self.plan, time.monotonic()
        waiting = iter(range(plan.first, plan.first + plan.sessions))
        opened, rest = 0, True
        while rest or self._open:
            now = time.monotonic()
            while rest and len(self._open) < plan.at_once and opened < (now - begun) * plan.per_s + 1:
                session = next(waiting, None)
                if session is None:
                    rest = False
                    break
                opened += 1
                self._open[session] = None
                self._again.append((now + SOON_S, session))
                self._query(session)
            self._keep(now)
        return time.monotonic() - begun

    def refresh_for(self, seconds: float) -> None:
        """Only refresh."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._keep(now)

    def _keep(self, now: float) -> None:
        """Send what is due, take what has come, or wait a little for it."""
        refreshes = self._refreshes
        for _ in range(AT_ONCE):
            if not refreshes or refreshes[0][0] > now:
                break
            _, session = heappop(refreshes)
            heappush(refreshes, (now + self._pause_s(), session))
            self._query(session)
        while self._again and self._again[0][0] <= now:
            self._send_again(self._again.popleft()[1], now)
        wait_s = min(0.01, refreshes[0][0] - now if refreshes else 0.01)
        if self._poll.poll(max(0.0, wait_s * 1000.0)):
            for _ in range(AT_ONCE):
                try:
                    data, beside, _, source = self._sock.recvmsg(2048, 128)
                except BlockingIOError:
                    break
                self._node = source
                self._take(data, beside)

    def _take(self, data: bytes, beside: list[tuple[int, int, bytes]]) -> None:
        kind = data[_KIND] & _TYPE
        if kind == MessageType.RESPONSE:
            session = self._peer.session_of(data)
            sent_ns = self._sent_ns.pop(session, None)
            if sent_ns is not None and self.measuring:
                seconds, nanoseconds = _STAMP.unpack(beside[0][2])
                self.took_ns.append(seconds * 1_000_000_000 + nanoseconds - sent_ns)
            confirm = self._peer.confirm(session, data)
            if confirm is not None:
                self._sock.sendto(confirm, self._node)
            if session in self._open:
                self._established(session)
        elif kind == MessageType.DATA and self.plan.asks:
            session = self._peer.sids.index(self._peer.reading.value(data, ObjectType.SID) or b"")
            if session in self._open:
                self._stands(session)

    def _established(self, session: int) -> None:
        if self.plan.asks:
            request = self._open[session] or self._peer.data(session, self._requests.text(session))
            self._open[session] = request
            self._sock.sendto(request, self._node)
        else:
            self._stands(session)

    def _stands(self, session: int) -> None:
        del self._open[session]
        if self.plan.settle_s:
            heappush(self._refreshes, (time.monotonic() + self._pause_s(), session))

    def _send_again(self, session: int, now: float) -> None:
        if session not in self._open:
            return
        self.sent_again += 1
        self._query(session)
        self._again.append((now + SOON_S, session))

    def _query(self, session: int) -> None:
        query = self._peer.query(session)
        self._sent_ns[session] = time.time_ns()
        self._sock.sendto(query, (address_of(session), GIST_PORT))

    def _pause_s(self) -> float:
        """Between two refreshes of a session (RFC 5971 section 4.4.4)."""
        return self.plan.validity_s * self._rng.uniform(0.5, 0.75)


def left(plan: Plan) -> int:
    """Run the plan; says `opened`, `measuring` and `measured` as it goes, the last two lines are figures."""
    peer = Left(plan)
    opened_s = peer.open_all()
    print(json.dumps({"opened_s": opened_s, "sent_again": peer.sent_again}), flush=True)
    if plan.settle_s:
        peer.refresh_for(plan.settle_s)
        print("measuring", flush=True)
        peer.measuring = True
        peer.refresh_for(plan.measure_s)
        print("measured", flush=True)
        ordered = sorted(peer.took_ns)
        figures = {f"p{share}_ms": ordered[int(len(ordered) * share / 100)] / 1e6 for share in (50, 95, 99)}
        print(json.dumps({**figures, "max_ms": ordered[-1] / 1e6, "answered": len(ordered)}), flush=True)
    return 0


def right(address: str, source: str, validity_s: float) -> int:
    """Answer all Queries and requests."""
    peer = Downstream(packed(address), packed(source), validity_s)
    with _socket("") as sock:
        print("ready", flush=True)
        for data, node in _received(sock):
            kind = data[_KIND] & _TYPE
            if kind == MessageType.QUERY:
                sock.sendto(peer.response(data), node)
            elif kind == MessageType.DATA:
                request = peer.reading.value(data, ObjectType.NSLP_DATA) or b""
                sock.sendto(peer.back(data, answer(request, packed(address))), node)
    return 0


def _received(sock: socket.socket) -> Iterator[tuple[bytes, tuple[str, int]]]:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while True:
        poll.poll()
        for _ in range(AT_ONCE):
            try:
                yield sock.recvfrom(2048)
            except BlockingIOError:
                break


def _socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind((address, GIST_PORT))
    return sock


def main() -> int:
    """One of the two."""
    match sys.argv[1:]:
        case ["left", plan]:
            return left(msgspec.json.decode(plan, type=Plan))
        case ["right", address, source, validity_s]:
            return right(address, source, float(validity_s))
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
