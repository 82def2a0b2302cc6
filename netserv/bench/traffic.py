"""The packets of the measurements, and the programs of BPF that send and count them."""

import socket
from typing import Final

from netserv.forwarding.bpf_assembler import DW, R0, R1, R2, R3, R6, R7, R8, R9, Assembler, B, W
from netserv.signaling.transport import packet

PORT: Final = 0x1400
"The first destination port; its lower byte has room for that of `FLOWS_MAX` flows."
SOURCE_PORT: Final = 0x9CFF
FLOWS_MAX: Final = 256
SENDER: Final = "10.1.0.2"
RECEIVER: Final = "10.2.0.2"
NETWORK: Final = "10.2.0.0/24"
ENDS: Final = {
    "s0": "02:00:00:00:00:01",
    "r0": "02:00:00:00:00:02",
    "r1": "02:00:00:00:00:03",
    "d0": "02:00:00:00:00:04",
}
NOBODY: Final = "02:00:00:00:00:99"
"Hardware address of the hosts behind the ends."
HEADERS_BYTES: Final = 42
SENT, WITHHELD, WINDOW, BEGAN, INTERVAL, NEXT, CAME = 0, 8, 16, 24, 32, 40, 64
"""Where numbers of 64 bits stand in the table that both programs share: what the other end writes is apart from what
the processor of the sender keeps in its cache."""
COUNTERS_BYTES: Final = 72
TICKS: Final = 1_024
"Of a nanosecond; the time between two frames is so exact."
BURST: Final = 64
"Frames that a sender by the clock makes up for when it was held up; what it missed beyond that, it does not send."
_PORTS_AT: Final = 34
_CHECKSUM_AT: Final = 40
_NEXT_FLOW: Final = 0x0100_0000 - 0x0100
"One more in the destination port and one less in the source port, in a little-endian word: the sums stay as they are."
_REDIRECT: Final = 23
_RANDOM: Final = 7
_CLOCK: Final = 5
_ETHERTYPE_AT: Final = 16
_IPV4: Final = 0x0008
"As it stands in memory, read by a little-endian machine."
_SHOT: Final = 2
_NEXT: Final = -1
_LETTERS: Final = b"????"
"Four letters that are others in each packet."
_NOTIFY: Final = b"""\
NOTIFY sip:10.2.0.2 SIP/2.0
Via: SIP/2.0/UDP 10.1.0.2:40191;branch=z9hG4bK-????
From: <sip:a@10.2.0.2>;tag=1b2c3d
To: <sip:10.2.0.2>
Call-ID: ????@10.1.0.2
CSeq: 42 NOTIFY
Max-Forwards: 70
Event: keep-alive
User-Agent: %s
Content-Length: 0

""".replace(b"\n", b"\r\n")


def keep_alive(size: int) -> bytes:
    """A SIP keep-alive whose IP packet has so many bytes: the User-Agent fills them."""
    room = size - 28 - len(_NOTIFY) + 2
    return _NOTIFY % (b"bench" + b"x" * room)[:room]


def frame(size: int, *, notify: bool = False, flow: int = 0) -> bytes:
    """A frame whose IP packet has so many bytes.

    Args:
        size: of the IP packet.
        notify: it is a keep-alive.
        flow: its number, below `FLOWS_MAX`.
    """
    payload = keep_alive(size) if notify else b"x" * (size - 28)
    source, destination = socket.inet_aton(SENDER), socket.inet_aton(RECEIVER)
    data = packet.build((source, SOURCE_PORT - flow), (destination, PORT + flow), payload, ttl=64)
    header = bytes.fromhex((ENDS["r0"] + ENDS["s0"]).replace(":", "")) + b"\x08\x00"
    # Without a checksum of UDP (RFC 768), as parts of the payload change.
    whole = bytearray(header + data)
    whole[_CHECKSUM_AT : _CHECKSUM_AT + 2] = bytes(2)
    return bytes(whole)


def places(sent: bytes) -> list[int]:
    """Where the four letters are that change."""
    found, at = [], sent.find(_LETTERS, HEADERS_BYTES)
    while at >= 0:
        found.append(at)
        at = sent.find(_LETTERS, at + len(_LETTERS))
    return found


def varied(sent: bytes, number: int) -> bytes:
    """The frame with letters of its own, as the generator's program makes them."""
    word = bytes(0x61 + (number >> shift & 15) for shift in (0, 4, 8, 12))
    return sent.replace(_LETTERS, word)


def generator(interface: int, sent: bytes, counters: int, flows: int = 1, *, by_clock: bool = False) -> bytes:
    """A program for live frames: each leaves by an interface, or is withheld.

    All of the frame is written anew each time, since its memory is used again, and those on its way write into it.

    Args:
        interface: where to.
        sent: the frame of the first flow.
        counters: the table.
        flows: which of them it is, is drawn for each frame.
        by_clock: frames leave when it is time for the next one, whatever becomes of them; else as long as no more than
            a window of them are on the way.
    """
    code = Assembler()
    code.move(R9, R1)
    code.load_map_value(R6, counters, 0)
    if by_clock:
        _wait_for_clock(code)
    else:
        code.load(DW, R7, R6, SENT)
        code.load(DW, R8, R6, CAME)
        code.operate("-=", R7, R8)
        code.load(DW, R8, R6, WINDOW)
        code.jump(">=", R7, R8, "withhold")
    code.load(W, R8, R9, 0)
    code.load(W, R2, R9, 4)
    code.move(R3, R8)
    code.operate("+=", R3, len(sent))
    code.jump(">", R3, R2, "drop")
    _count(code, SENT)
    _write(code, sent, flows)
    code.move(R1, interface)
    code.move(R2, 0)
    code.call(_REDIRECT)
    code.exit()
    code.label("withhold")
    _count(code, WITHHELD)
    code.label("drop")
    code.move(R0, 1)
    code.exit()
    return code.assemble()


def _wait_for_clock(code: Assembler) -> None:
    """Withhold a frame before its time, and set that of the next one; the table is at R6."""
    code.call(_CLOCK)
    code.load(DW, R1, R6, BEGAN)
    code.jump("!=", R1, 0, "begun")
    code.store(DW, R6, BEGAN, R0)
    code.move(R1, R0)
    code.label("begun")
    code.operate("-=", R0, R1)
    code.operate("*=", R0, TICKS)
    code.load(DW, R7, R6, NEXT)
    code.jump("<", R0, R7, "withhold")
    code.load(DW, R8, R6, INTERVAL)
    code.move(R1, R8)
    code.operate("*=", R1, BURST)
    code.operate("+=", R1, R7)
    code.jump("<=", R0, R1, "in time")
    code.operate("-=", R0, R1)
    code.operate("+=", R7, R0)
    code.label("in time")
    code.operate("+=", R7, R8)
    code.store(DW, R6, NEXT, R7)


def _count(code: Assembler, at: int) -> None:
    """One more in the table, which is at R6."""
    code.move(R7, 1)
    code.add_atomically(R6, at, R7)


def _write(code: Assembler, sent: bytes, flows: int) -> None:
    """All of the frame, which is at R8."""
    whole = len(sent) & ~3
    for at in range(0, whole, 4):
        code.store(W, R8, at, int.from_bytes(sent[at : at + 4], "little"))
    for at in range(whole, len(sent)):
        code.store(B, R8, at, sent[at])
    if flows > 1:
        _draw_flow(code, sent, flows)
    for at in places(sent):
        _draw_letters(code, at)


def _draw_flow(code: Assembler, sent: bytes, flows: int) -> None:
    """The ports of any of the flows; the frame is at R8."""
    code.call(_RANDOM)
    code.operate("=", R0, R0, narrow=True)
    code.operate("*=", R0, flows)
    code.operate(">>=", R0, 32)
    code.operate("*=", R0, _NEXT_FLOW)
    code.operate("+=", R0, int.from_bytes(sent[_PORTS_AT : _PORTS_AT + 4], "little"), narrow=True)
    code.store(W, R8, _PORTS_AT, R0)


def _draw_letters(code: Assembler, at: int) -> None:
    """Four of `a` to `p`."""
    code.call(_RANDOM)
    code.operate("&=", R0, 0x0F0F0F0F)
    code.operate("+=", R0, 0x61616161)
    code.store(W, R8, at, R0)


def counter(counters: int) -> bytes:
    """A program for what comes in at an end: IPv4 is counted, and goes no further."""
    code = Assembler()
    code.load(W, R2, R1, _ETHERTYPE_AT)
    code.jump("!=", R2, _IPV4, "other")
    code.load_map_value(R6, counters, 0)
    _count(code, CAME)
    code.move(R0, _SHOT)
    code.exit()
    code.label("other")
    code.move(R0, _NEXT)
    code.exit()
    return code.assemble()
