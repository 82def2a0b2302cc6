"""Responses to plain SIP requests, for each packet: no dialog, no body, no extension that has to be understood.

What user agents send again and again to keep a way open is such a request. Whatever is more than
that is for the server itself: a body, a dialog, an extension, a line that is folded, a header that comes twice.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zlib import crc32

from netserv.modules.api import Answer
from netserv.modules.packets import UDP, Packet

LINES_MAX: Final = 64
"A keep-alive has 8 to 12; one through many proxies 30."
_VIA, _FROM, _TO, _CALL_ID, _CSEQ, _EVENT, _LENGTH, _OTHER = 1, 2, 4, 8, 16, 32, 64, 0
_NEEDED: Final = _VIA | _FROM | _TO | _CALL_ID | _CSEQ
_NAMES: Final = {
    b"via": _VIA,
    b"v": _VIA,
    b"from": _FROM,
    b"f": _FROM,
    b"to": _TO,
    b"t": _TO,
    b"call-id": _CALL_ID,
    b"i": _CALL_ID,
    b"cseq": _CSEQ,
    b"event": _EVENT,
    b"o": _EVENT,
    b"content-length": _LENGTH,
    b"l": _LENGTH,
}
_TO_BE_UNDERSTOOD: Final = frozenset({b"require", b"proxy-require"})
"Sections 8.2.2.3 and 16.3: who does not know what they name refuses the request."
_FIRST: Final = re.compile(rb"([^ ]+) [^\s\x00-\x20\x7f]{1,512} SIP/2\.0")
_SENT_BY: Final = re.compile(
    rb"[ \t]*SIP/2\.0/UDP[ \t]+(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::([0-9]{1,5}))?[ \t]*",
    re.IGNORECASE,
)
_RPORT: Final = re.compile(rb"(?<![^;])[ \t]*rport[ \t]*(?:=[^;]*)?(?=;|$)", re.IGNORECASE)
_CSEQ_VALUE: Final = re.compile(rb"[ \t]*[0-9]{1,10}[ \t]+([^ \t]+)[ \t]*")
_TAG: Final = re.compile(rb";[ \t]*tag[ \t]*=", re.IGNORECASE)
_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {9})
_SIP_PORT: Final = 5060

Response: TypeAlias = tuple[bytes, int]
"A response, and the port that it goes to."


def python_plain_response(
    data: bytes | memoryview, address: str, port: int, method: bytes, event: bytes, status: bytes, salt: bytes, /
) -> Response | None:
    """The response to a plain request in a datagram, and the port that it goes to.

    The topmost Via tells where the request came from: section 18.2.1 of RFC 3261 has `received` wherever the address is
    another one, RFC 3581 section 4 also with `rport`. Without `rport` the response goes to the port of the Via (section
    18.2.2), but to where the request came from when a NAT was on the way: nothing else passes one.

    Args:
        data: payload of the datagram.
        address: where it came from, as a text.
        port: likewise.
        method: that the request must have, as `NOTIFY`.
        event: that its `Event` must name, in any letters; empty: none is needed.
        status: of the response, as `200 OK`.
        salt: begins the tag for `To` (section 19.3): by chance, and one for all. The rest of the tag is the same for
            each repetition of a request (section 8.2.7), and another one for each request.

    Returns:
        None: it is no such request, or has what only the server can judge.
    """
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    first = _FIRST.fullmatch(lines[0])
    if not found or body or len(lines) > LINES_MAX or first is None or first[1] != method:
        return None
    # Lines are copied, so no line end of another kind may be in them.
    if len(head.translate(None, _CONTROLS)) != len(head) - 2 * len(lines) + 2:
        return None
    pieces, seen, to = [b"SIP/2.0 " + status], 0, 0
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        bare = name.rstrip(b" \t").lower()
        # Section 7.3.1: a line that begins with white space goes on with the one before.
        if not colon or not name or name[0] in b" \t" or bare in _TO_BE_UNDERSTOOD:
            return None
        kind = _NAMES.get(bare, _OTHER)
        if (seen & kind and kind != _VIA) or not _is_good(kind, value, method, event):
            return None
        seen |= kind
        if kind == _VIA and not to:
            top = _received(name, value, address, port)
            if top is None or not top[1]:  # nobody listens on port 0
                return None
            piece, to = top
            pieces.append(piece)
        elif kind == _TO:
            pieces.append(line + b";tag=%s%08x" % (salt, crc32(head)))
        elif kind & _NEEDED:
            pieces.append(line)
    needed = _NEEDED | (_EVENT if event else 0)
    if seen & needed != needed:
        return None
    pieces.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(pieces), to


def _is_good(kind: int, value: bytes, method: bytes, event: bytes) -> bool:
    """Whether a header line may be in a plain request."""
    if kind == _EVENT:
        return not event or value.partition(b";")[0].strip(b" \t").lower() == event.lower()
    if kind == _LENGTH:
        return not value.strip(b" \t0")
    if kind == _CSEQ:
        found = _CSEQ_VALUE.fullmatch(value)
        return found is not None and found[1] == method
    return kind != _TO or _TAG.search(value) is None


def _received(name: bytes, value: bytes, address: str, came_by: int) -> Response | None:
    """The topmost Via with where the request came from, and the port for the response."""
    top, comma, others = value.partition(b",")
    head, semicolon, parameters = top.partition(b";")
    sent_by = _SENT_BY.fullmatch(head)
    if sent_by is None or b"received" in parameters.lower():
        return None
    port = int(sent_by[3] or _SIP_PORT)
    if not 1 <= port <= 65_535:
        return None
    parameters, asked = _RPORT.subn(b"rport=%d" % came_by, parameters, count=1)
    said = b"%s:%s%s%s" % (name, head, semicolon, parameters)
    if not asked and (sent_by[1] or sent_by[2]).lower() == address.encode():
        return said + comma + others, port
    return b"%s;received=%s%s%s" % (said, address.encode(), comma, others), came_by


def python_plain_answers(
    packets: Sequence[Packet],
    method: bytes,
    event: bytes,
    status: bytes,
    salt: bytes,
    otherwise: Callable[[Packet], bytearray | None],
    /,
) -> tuple[list[Any], list[int]]:
    """`otherwise` for each packet, and the places of those that have no answer.

    The compiled form asks it only where a packet is not plain UDP in IPv4.
    """
    del method, event, status, salt
    answers = [otherwise(packet) for packet in packets]
    return answers, [place for place, answer in enumerate(answers) if answer is None]


if TYPE_CHECKING:
    plain_response, plain_answers = python_plain_response, python_plain_answers
else:
    try:
        from netserv.modules._fast import plain_answers, plain_response  # the same in C
    except ImportError:
        plain_response, plain_answers = python_plain_response, python_plain_answers


class PlainResponder:
    """Answers plain requests in packets, in the place of the server that they are for.

    Args:
        method: see `plain_response`, as the others.
        event: likewise.
        status: likewise.
        salt: likewise.
    """

    def __init__(self, method: bytes, event: bytes, status: bytes, salt: bytes) -> None:
        self._rules = method, event, status, salt

    def answer(self, packet: Packet) -> bytearray | None:
        """The packet that answers one; None where it carries no such request, or has what only the server can judge."""
        if packet.proto != UDP:
            return None
        found = plain_response(packet.payload, str(ip_address(packet.src)), packet.sport, *self._rules)
        if found is None:
            return None
        response, to = found
        reply = packet.reply(response)
        return reply if to == packet.sport else Packet(memoryview(reply)).replaced(dport=to)

    def answers(self, packets: Sequence[Packet], otherwise: Callable[[Packet], Answer]) -> tuple[list[Answer], int]:
        """Likewise for each of a batch: in C a packet takes less than half a microsecond.

        Args:
            packets: of a batch.
            otherwise: has the answer where a packet carries no such request.

        Returns:
            Answers to all of them, and how many packets carried one.
        """
        answers, left = plain_answers(packets, *self._rules, self.answer)
        for place in left:
            answers[place] = otherwise(packets[place])
        return answers, len(answers) - len(left)
