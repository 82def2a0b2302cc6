"""A stand-in for a container: takes packets from a ring and does one simple thing with each."""

import json
import os
import select
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

from netserv.apps.net_monitor.net_monitor import NetMonitor
from netserv.container.runtime.dispatcher import Dispatcher, Handler, Taken
from netserv.forwarding.ring import ACCEPT, ACCEPT_FLOW, CHANGED, COUNTS, DROP, BoxEnd, map_memory
from netserv.modules.blocks.metrics import Metrics


def with_payload(packet: bytes, payload: bytes, *, answer: bool = False) -> bytes:
    """A UDP packet with another payload, and as an answer to its sender where wanted; without checksums."""
    at, ends = (20, slice(12, 20)) if packet[0] >> 4 == 4 else (40, slice(8, 40))
    header = bytearray(packet[:at])
    if answer:
        half = (ends.stop - ends.start) // 2
        header[ends] = packet[ends.start + half : ends.stop] + packet[ends.start : ends.start + half]
    if at == 20:
        struct.pack_into("!H", header, 2, at + 8 + len(payload))
    else:
        struct.pack_into("!H", header, 4, 8 + len(payload))
    ports = packet[at : at + 4] if not answer else packet[at + 2 : at + 4] + packet[at : at + 2]
    return bytes(header) + ports + struct.pack("!HH", 8 + len(payload), 0) + payload


def put(box: BoxEnd, slot: int, packet: bytes) -> None:
    box.room(slot)[: len(packet)] = packet
    box.answer(slot, CHANGED, len(packet))


def treat(box: BoxEnd, behaviour: str, slot: int, view: memoryview) -> None:
    packet = bytes(view)
    payload = packet[(28 if packet[0] >> 4 == 4 else 48) :]
    match behaviour:
        case "accept":
            box.answer(slot, ACCEPT)
        case "flow":
            box.answer(slot, ACCEPT_FLOW)
        case "drop":
            box.answer(slot, DROP)
        case "change":
            put(box, slot, with_payload(packet, payload.upper() + b"!"))
        case "reply":
            box.inject(with_payload(packet, b"answer to " + payload, answer=True))
            box.answer(slot, DROP)
        case "turn":  # the packet itself becomes the answer
            put(box, slot, with_payload(packet, b"answer to " + payload, answer=True))
        case "redirect":
            foreign = bytearray(packet)
            if packet[0] >> 4 == 4:
                foreign[16:20] = bytes([10, 2, 0, 99])
            else:
                foreign[39] = 99
            put(box, slot, bytes(foreign))
        case "spoof":  # as `reply`, from somebody else
            own = bytearray(with_payload(packet, payload, answer=True))
            own[15 if packet[0] >> 4 == 4 else 23] ^= 64
            box.inject(own)
            box.answer(slot, ACCEPT)
        case "source_route":
            header = bytearray(packet[:20])
            header[0] = 0x46
            struct.pack_into("!H", header, 2, len(packet) + 4)
            put(box, slot, bytes(header) + bytes([131, 3, 4, 0]) + packet[20:])
        case "version":
            view[0] = 0x60 if view[0] >> 4 == 4 else 0x45
            box.answer(slot, CHANGED, len(packet))
        case "longer":
            box.answer(slot, CHANGED, len(packet) + 5)
        case "garbage":
            box.answer(slot, 99, 70_000)
        case "twice":
            for _ in range(3):
                box.answer(slot, ACCEPT)
            box.answer(slot ^ 1, DROP)
        case "sleep":
            time.sleep(1_000)
        case "loop":
            while True:
                pass


def scribble(memory: int, wake: int, broker: int) -> None:
    """From its first packet on random bytes over all that both ends share but the packets, with no end of a ring."""
    shared, layout = map_memory(memory)
    select.select([wake], [], [])
    os.set_blocking(broker, True)
    while True:
        shared[: layout.slots_at] = os.urandom(layout.slots_at)
        os.write(broker, b"\1")
        time.sleep(0.001)


def fail(error: BaseException) -> None:
    raise error


def counting(box: BoxEnd, path: Path) -> Callable[[list[Taken]], None]:
    """NetMonitor, by the dispatcher of containers; what it has counted is in a file, by TTL and source."""
    monitor, dispatcher, known = NetMonitor(), Dispatcher(), set[int]()
    monitor.start(SimpleNamespace(properties={}, metrics=Metrics(), every=lambda *_: None))  # type: ignore[arg-type]

    def treat_all(packets: list[Taken]) -> None:
        for number in {number & ~COUNTS for _, number, _ in packets} - known:
            known.add(number)
            dispatcher.attach(number, Handler(1, monitor, fail))
        dispatcher.dispatch(box, packets)
        found = Counter[str]()
        for (ttl, ends), count in monitor._counts.items():
            found[f"{ttl} {ip_address(ends[: len(ends) // 2])}"] += count
        path.with_suffix(".new").write_text(json.dumps(found), encoding="ascii")
        path.with_suffix(".new").rename(path)

    return treat_all


def main(behaviour: str, memory: int, wake: int, broker: int) -> None:
    print("ready", flush=True)
    if behaviour == "scribble":
        scribble(memory, wake, broker)
    box = BoxEnd(memory, wake, broker)
    kind, _, path = behaviour.partition(" ")
    treat_all = counting(box, Path(path)) if kind == "count" else None
    while True:
        packets = box.take()
        if treat_all is not None and packets:
            treat_all(packets)
        elif treat_all is None:
            for slot, _, view in packets:
                treat(box, behaviour, slot, view)
        box.flush()
        if not packets:  # only then it is said that this end sleeps, and a wake-up comes
            select.select([box.fileno()], [], [])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
