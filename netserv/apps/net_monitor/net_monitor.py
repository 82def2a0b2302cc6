"""Counts packets by source, destination and TTL, and streams the counts to its publisher (thesis 7.1).

Properties of the SETUP:

| `report` | `HOST:PORT` that the counts go to, by TCP; without it they stay here |
| `token` | who connects proves by it that he is the module that was deployed |
| `interval` | seconds between two reports (1) |
| `offload` | `no`: the node does not count in the kernel, and each packet comes here (`yes`) |

The stream has lines of JSON: one that introduces the module, then for each interval lines with what was counted since
the last one, the last of them with `done`. What cannot be delivered is added to the next report.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import trio

from netserv.modules.api import ACCEPT, COUNT_FLOW, Activator, Context, Counted, Packet, Verdict

FLOWS_MAX = 4_096
"Counted apart in one interval; packets of more are counted together, as an attacker can invent millions."
LINE_FLOWS = 100
"In one line of a report: some 5 kB, made in a fraction of a millisecond."
INTERVAL_S, INTERVAL_MIN_S, INTERVAL_MAX_S = 1.0, 0.1, 60.0
RETRY_S, RETRY_MAX_S = 0.5, 30.0
SEND_S = 10.0
"For a line to be taken."
LAST_S = 1.0
"For the last report; a module has half a second more to stop."

Flow = tuple[int, bytes]
"TTL; source and destination."


class NetMonitor(Activator):
    """Sees the packets of its filter, and lets all of them pass."""

    def start(self, context: Context) -> None:
        """Prepare; packets come afterwards."""
        self._context = context
        self._counts: Counter[Flow] = Counter()
        "Since the last report; of the packet thread."
        self._others = 0
        self._due: tuple[Counter[Flow], int] = (Counter(), 0)
        "What is to be reported; of the server thread."
        self._packets, self._reports = context.metrics.counter("packets"), context.metrics.counter("reports")
        offload = context.properties.get("offload", "yes")
        if offload not in {"yes", "no"}:
            raise ValueError(f"property offload: {offload!r} is not yes or no")
        self._verdict = COUNT_FLOW if offload == "yes" else ACCEPT
        self._interval_s = _interval(context.properties.get("interval", ""))
        report = context.properties.get("report", "")
        if report:
            host, _, port = report.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"property report: {report!r} is not HOST:PORT")
            self._place = host.strip("[]"), int(port)
            self._news, self._told = trio.Event(), trio.Event()
            context.spawn(self._stream)
        context.every(self._interval_s, self._turn)

    def process(self, packet: Packet) -> Verdict:
        """Count one packet."""
        ends, counts = packet.ends, self._counts
        if ends:
            flow = packet.ttl, ends
            if flow in counts or len(counts) < FLOWS_MAX:
                counts[flow] += 1
            else:
                self._others += 1
        self._packets.add()
        return self._verdict

    def process_batch(self, packets: Sequence[Packet]) -> Verdict:
        """Count many: what is done for each is done by the interpreter's own loops."""
        flows = [(packet.ttl, ends) for packet in packets if (ends := packet.ends)]
        counts = self._counts
        if len(counts) < FLOWS_MAX:
            counts.update(flows)
        else:
            for flow in flows:
                if flow in counts:
                    counts[flow] += 1
                else:
                    self._others += 1
        self._packets.add(len(packets))
        return self._verdict

    def counted(self, flows: Sequence[Counted]) -> None:
        """Add what the kernel has counted of flows that it let pass by itself."""
        counts = self._counts
        for each in flows:
            flow = each.ttl, each.src + each.dst
            if flow in counts or len(counts) < FLOWS_MAX:
                counts[flow] += each.packets
            else:
                self._others += each.packets
            self._packets.add(each.packets)

    async def stop(self) -> None:
        """Report what was counted last, where somebody listens; no packets come any more."""
        if "report" in self._context.properties:
            told = self._told
            await self._take(self._counts, self._others)
            with trio.move_on_after(LAST_S):
                await told.wait()

    def _turn(self) -> None:
        """Hand over what was counted; on the packet thread, between two batches."""
        counted = self._counts, self._others
        self._counts, self._others = Counter(), 0
        if "report" in self._context.properties:
            self._context.spawn(self._take, *counted)

    async def _take(self, counts: "Counter[Flow]", others: int) -> None:
        self._add(counts, others)
        self._news.set()

    def _add(self, counts: "Counter[Flow]", others: int) -> None:
        due, before = self._due
        for flow, count in counts.items():
            if flow in due or len(due) < FLOWS_MAX:
                due[flow] += count
            else:
                others += count
        self._due = due, before + others

    async def _stream(self) -> None:
        """Report until the module ends; connects again where that fails."""
        pause_s = RETRY_S
        while True:
            try:
                stream = await self._context.connect(*self._place)
                async with stream:
                    await self._introduce(stream)
                    pause_s = RETRY_S
                    while True:
                        await self._report(stream)
            except Exception as error:
                self._context.log.warning("no report to %s port %d: %s", *self._place, error or type(error).__name__)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    async def _introduce(self, stream: trio.SocketStream) -> None:
        hello = {"token": self._context.properties.get("token", ""), "interval_s": self._interval_s}
        await _send(stream, hello)

    async def _report(self, stream: trio.SocketStream) -> None:
        await self._news.wait()
        told, self._news, self._told = self._told, trio.Event(), trio.Event()
        due, others = self._due
        self._due = Counter(), 0
        try:
            for line in report_lines(due, others):
                await _send(stream, line)
        except BaseException:
            # None of it counts without its last line.
            self._add(due, others)
            self._news.set()
            raise
        self._reports.add()
        told.set()


def report_lines(counts: "Counter[Flow]", others: int) -> Iterator[dict[str, object]]:
    """A report, line by line."""
    flows = list(counts.items())
    for first in range(0, max(1, len(flows)), LINE_FLOWS):
        part = flows[first : first + LINE_FLOWS]
        last = first + LINE_FLOWS >= len(flows)
        yield {
            "flows": [[*_ends(ends), ttl, count] for (ttl, ends), count in part],
            "others": others if last else 0,
            "done": last,
        }


def _ends(ends: bytes) -> tuple[str, str]:
    half = len(ends) // 2
    return str(ip_address(ends[:half])), str(ip_address(ends[half:]))


async def _send(stream: trio.SocketStream, line: object) -> None:
    with trio.fail_after(SEND_S):
        await stream.send_all(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def _interval(text: str) -> float:
    try:
        seconds = float(text or INTERVAL_S)
    except ValueError:
        seconds = math.nan
    if not INTERVAL_MIN_S <= seconds <= INTERVAL_MAX_S:
        raise ValueError(f"property interval: {text!r} is not within {INTERVAL_MIN_S:g}..{INTERVAL_MAX_S:g} seconds")
    return seconds
