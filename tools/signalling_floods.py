"""Floods a signalling node with GIST datagrams as anybody on its path could, and counts what comes back.

    python -m tools.signalling_floods answers eth0                   what comes for made-up addresses, until SIGTERM
    python -m tools.signalling_floods flood 10.3.0.2 queries --count 100000

The first one listens where the addresses lead to that the second one makes up. Both print JSON. For
laboratories.
"""

import argparse
import ipaddress
import itertools
import json
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

from netserv.errors import NetservError
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.messages import Confirm, Message, Query, Response
from netserv.signaling.gist.objects.mri import PathCoupledMri
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, decode, encode

SPOOFED: Final = "100.64.0.0/10"
"Sources that are made up: four million addresses (RFC 6598), so that none comes again soon."
SOURCE_PORT: Final = 4_270
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_MESSAGE_AT: Final = _IP.size + _UDP.size + len(MAGIC)
_SOURCE_AT: Final = 12
_FLOW_AT: Final = _MESSAGE_AT + 8 + 4 + 4
"Source of the flow: the MRI is the first object behind the common header."
_SID_AT: Final = _MESSAGE_AT + 8 + 4 + 16 + 4
_NODE_AT: Final = _SID_AT + 16 + 4 + 8 + 4
"Address of the signalling node, behind its identity of 4 bytes: answers go there."
_SPREAD: Final = 2_654_435_761
"Odd, so that its multiples come to every address before one comes again."
_ETHERNET: Final = 14
_RCVBUFFORCE: Final = 33


def _query(source: bytes, destination: bytes, rng: Random, *, stacks: bool) -> Query:
    offer = Stacks(GistConfig()).offer(secure=False) if stacks else (None, None)
    return Query(
        nslp_id=NSLP_NETSERV,
        mri=_flow(source, destination),
        sid=rng.randbytes(16),
        nli=_nli(source, rng),
        query_cookie=rng.randbytes(4),
        stack_proposal=offer[0],
        stack_configuration=offer[1],
    )


def _response(source: bytes, destination: bytes, rng: Random) -> Response:
    return Response(
        nslp_id=NSLP_NETSERV,
        wants_confirm=True,
        mri=_flow(source, destination).inverted(),
        sid=rng.randbytes(16),
        nli=_nli(source, rng),
        query_cookie=rng.randbytes(16),
        responder_cookie=rng.randbytes(32),
    )


def _confirm(source: bytes, destination: bytes, rng: Random) -> Confirm:
    return Confirm(
        nslp_id=NSLP_NETSERV,
        mri=_flow(source, destination),
        sid=rng.randbytes(16),
        nli=_nli(source, rng),
        responder_cookie=rng.randbytes(32),
        nslp_data=b"rubbish.",
    )


def _flow(source: bytes, destination: bytes) -> PathCoupledMri:
    return PathCoupledMri(source=source, destination=destination, source_prefix=32, destination_prefix=32)


def _nli(address: bytes, rng: Random) -> Nli:
    return Nli(peer_identity=rng.randbytes(4), address=address, ip_ttl=64, validity_ms=30_000)


KINDS: Final[dict[str, Callable[[bytes, bytes, Random], Message]]] = {
    "queries": lambda source, destination, rng: _query(source, destination, rng, stacks=False),
    "queries-for-connections": lambda source, destination, rng: _query(source, destination, rng, stacks=True),
    "responses": _response,
    "confirms": _confirm,
}
BARE: Final[dict[str, bytes]] = {
    "bad-version": bytes.fromhex("02200000 7fc080c0"),
    "bad-type": bytes.fromhex("01200000 7fc0bfc0"),
    "bad-flags": bytes.fromhex("01200000 7fc08080"),
    "bad-length": bytes.fromhex("01200040 7fc080c0"),
    "no-objects": bytes.fromhex("01200000 7fc080c0"),
    "no-hops": bytes.fromhex("01000000 7fc080c0"),
    "unknown-nslp": bytes.fromhex("01200000 123400c0"),
    "hello": bytes.fromhex("01200000 00000580"),
}
"Headers alone, 12 bytes with the magic number. The name says what is wrong with them."


def _packets(kind: str, target: str, rng: Random) -> Iterator[bytearray]:
    """IP packets, each from another address and of another session; checksums are left to the kernel, or out."""
    network = ipaddress.ip_network(SPOOFED)
    base, mask = int(network.network_address), network.num_addresses - 1
    source, destination = network[1].packed, packed(target)
    payload = MAGIC + (BARE[kind] if kind in BARE else encode(KINDS[kind](source, destination, rng)))
    size = _UDP.size + len(payload)
    head = _IP.pack(0x45, 0, _IP.size + size, 0, 0x4000, 64, socket.IPPROTO_UDP, 0, source, destination)
    packet = bytearray(head + _UDP.pack(SOURCE_PORT, GIST_PORT, size, 0) + payload)
    places = (_SOURCE_AT,) if kind in BARE else (_SOURCE_AT, _FLOW_AT, _NODE_AT)
    first = rng.randrange(mask)
    for number in itertools.count(first):
        address = base + (number * _SPREAD & mask)
        for place in places:
            struct.pack_into("!I", packet, place, address)
        if kind in KINDS:
            struct.pack_into("!I", packet, _SID_AT, number)
        yield packet


def flood(kind: str, target: str, *, count: int, seconds: float, per_s: float, seed: int) -> dict[str, Any]:
    """Send as fast as one process can, or at a rate.

    Args:
        kind: of `KINDS` or `BARE`.
        target: IPv4 address.
        count: of packets at most.
        seconds: at most.
        per_s: rate; 0: as many as can be.
        seed: of all chance.
    """
    begun, sent, refused, packet = time.monotonic(), 0, 0, bytearray()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for number, packet in zip(range(count), _packets(kind, target, Random(seed)), strict=False):
            try:
                sock.sendto(packet, (target, 0))
                sent += 1
            except OSError:
                refused += 1
            if number % 256 == 0:
                passed_s = time.monotonic() - begun
                if passed_s > seconds:
                    break
                if per_s and (ahead_s := sent / per_s - passed_s) > 0:
                    time.sleep(ahead_s)
    took_s = time.monotonic() - begun
    return {"kind": kind, "sent": sent, "refused": refused, "seconds": round(took_s, 3), "bytes": len(packet)}


def answers(interface: str) -> dict[str, dict[str, int]]:
    """Count the IP packets that come for made-up addresses, until SIGTERM: by kind their number, bytes and the most."""
    network = ipaddress.ip_network(SPOOFED)
    low, high = int(network[0]), int(network[-1])
    found: dict[str, dict[str, int]] = {}
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind((interface, 0))
        sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 25)
        sock.settimeout(0.1)
        print("ready", flush=True)
        while not ended:
            try:
                frame = sock.recv(4_096)
            except TimeoutError:
                continue
            if frame[12:14] == b"\x08\x00" and low <= int.from_bytes(frame[30:34], "big") <= high:
                size = int.from_bytes(frame[16:18], "big")
                one = found.setdefault(_kind(frame), {"packets": 0, "bytes": 0, "bytes_max": 0})
                one["packets"] += 1
                one["bytes"] += size
                one["bytes_max"] = max(one["bytes_max"], size)
    return found


def _kind(frame: bytes) -> str:
    payload = frame[_ETHERNET + _IP.size + _UDP.size :]
    if frame[_ETHERNET + 9] != socket.IPPROTO_UDP or not payload.startswith(MAGIC):
        return f"protocol {frame[_ETHERNET + 9]}"
    try:
        return type(decode(payload[len(MAGIC) :])).__name__
    except NetservError as error:
        return f"strange: {error}"


def main(argv: Sequence[str] | None = None) -> int:
    """Flood or listen, and print what was counted."""
    text = (__doc__ or "").split("\n", 1)[0]
    parser = argparse.ArgumentParser(prog="python -m tools.signalling_floods", description=text)
    commands = parser.add_subparsers(dest="command", required=True)
    listen = commands.add_parser("answers", help="count what comes for made-up addresses, until SIGTERM")
    listen.add_argument("interface")
    send = commands.add_parser("flood", help="send, one kind after the other")
    send.add_argument("target", help="address that the datagrams are sent to")
    send.add_argument("kinds", nargs="+", choices=(*KINDS, *BARE), metavar="KIND", help=", ".join((*KINDS, *BARE)))
    send.add_argument("--count", type=int, default=sys.maxsize, help="of each kind")
    send.add_argument("--seconds", type=float, default=float("inf"), help="at most, for each kind")
    send.add_argument("--per-s", type=float, default=0.0, help="rate (as many as can be)")
    send.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    if asked.command == "answers":
        print(json.dumps(answers(asked.interface)), flush=True)
        return 0
    options = {name: getattr(asked, name) for name in ("count", "seconds", "per_s", "seed")}
    for kind in asked.kinds:
        print(json.dumps(flood(kind, asked.target, **options)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
