"""SIP NOTIFY keep-alives, and their `200 OK` (RFC 3261, RFC 3581, RFC 6665).

A user agent behind a NAT sends `NOTIFY` with `Event: keep-alive` every 15 to 30 s, outside of any dialog and without
a body. Whatever is more than that is for the server itself: a body, a dialog, an extension that has to be understood, a
line that is folded, a header that comes twice.
"""

import re
from typing import Final, TypeAlias
from zlib import crc32

Place: TypeAlias = tuple[str, int]
"Address and port."
Judged: TypeAlias = tuple[int, bytes]
"What a line is, as a bit, and what stands of it in the response."

_VIA, _FROM, _TO, _CALL_ID, _CSEQ, _EVENT, _LENGTH, _OTHER = 1, 2, 4, 8, 16, 32, 64, 0
_NEEDED: Final = _VIA | _FROM | _TO | _CALL_ID | _CSEQ | _EVENT
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
_ANEW: Final = _VIA | _CALL_ID | _CSEQ
"Lines that are new in each keep-alive, so that it is of no use to remember them."
_SPELT: Final = {name.title(): kind for name, kind in _NAMES.items()} | {b"Call-ID": _CALL_ID, b"CSeq": _CSEQ}
"As they are nearly always written."
LINES_MAX: Final = 64
"A keep-alive has 8 to 12; one through many proxies 30."
REMEMBERED_MAX: Final = 4_096
"Lines: From, To, User-Agent and the like of a thousand user agents."
REMEMBERED_BYTES: Final = 256
"A line that is longer is looked at each time."

_FIRST: Final = re.compile(rb"NOTIFY [^\s\x00-\x20\x7f]{1,512} SIP/2\.0")
_SENT_BY: Final = re.compile(
    rb"[^:]+:[ \t]*SIP/2\.0/UDP[ \t]+(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::([0-9]{1,5}))?[ \t]*",
    re.IGNORECASE,
)
_RPORT: Final = re.compile(rb"(?<![^;])[ \t]*rport[ \t]*(?:=[^;]*)?(?=;|$)", re.IGNORECASE)
_CSEQ_VALUE: Final = re.compile(rb"[ \t]*[0-9]{1,10}[ \t]+NOTIFY[ \t]*")
_TAG: Final = re.compile(rb";[ \t]*tag[ \t]*=", re.IGNORECASE)
_EVENT_VALUE: Final = re.compile(rb"[ \t]*keep-alive[ \t]*(?:;.*)?", re.IGNORECASE)
_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {9})
_SIP_PORT: Final = 5060


class Notifies:
    """Makes responses. Lines that many keep-alives have in common are judged once.

    Args:
        salt: begins the tags that are made here (section 19.3): random, as hex.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._lines: dict[bytes, Judged] = {}
        self._vias: dict[bytes, Place] = {}

    def answer(self, data: bytes, source: Place) -> tuple[bytes, int] | None:
        """The response to a keep-alive, and the port that it goes to.

        Args:
            data: payload of a datagram.
            source: where it came from.

        Returns:
            None: it is no keep-alive, or has what only the server can judge.
        """
        head, found, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if not found or body or len(lines) > LINES_MAX or _FIRST.fullmatch(lines[0]) is None:
            return None
        # Lines are copied, so no line end of another kind may be in them.
        if len(head.translate(None, _CONTROLS)) != len(head) - 2 * len(lines) + 2:
            return None
        known, pieces, seen, port = self._lines.get, [b"SIP/2.0 200 OK"], 0, 0
        for line in lines[1:]:
            judged = known(line) or self._judged(line)
            if judged is None:
                return None
            kind, piece = judged
            if kind == _VIA and not port:
                top = self._received(line, source)
                if top is None:
                    return None
                piece, port = top
            elif seen & kind & ~_VIA:
                return None
            elif kind == _TO:
                # The same for each repetition (section 8.2.7), and another one for each request.
                piece += b";tag=%s%08x" % (self._salt, crc32(head))
            seen |= kind
            if piece:
                pieces.append(piece)
        if seen & _NEEDED != _NEEDED:
            return None
        pieces.append(b"Content-Length: 0\r\n\r\n")
        return b"\r\n".join(pieces), port

    def _judged(self, line: bytes) -> Judged | None:
        judged = _judged(line)
        if judged is not None and not judged[0] & _ANEW and len(line) <= REMEMBERED_BYTES:
            if len(self._lines) >= REMEMBERED_MAX:
                self._lines.clear()
            self._lines[line] = judged
        return judged

    def _received(self, line: bytes, source: Place) -> tuple[bytes, int] | None:
        """The topmost Via with where the request came from, and the port for the response.

        Section 18.2.1 has `received` wherever the address is another one, RFC 3581 section 4 also with `rport`.
        Without `rport` the response goes to the port of the Via (section 18.2.2), but to where it came from when a NAT
        was on the way, which `received` tells: nothing else passes a NAT.
        """
        top, comma, others = line.partition(b",")
        head, semicolon, parameters = top.partition(b";")
        sent_by = self._vias.get(head) or self._sent_by(head)
        if sent_by is None:
            return None
        host, port = sent_by
        address, came_by = source
        lowered, asked = parameters.lower(), 0
        if b"received" in lowered:
            return None
        if b"rport" in lowered:
            parameters, asked = _RPORT.subn(b"rport=%d" % came_by, parameters, count=1)
        if not asked and host == address:
            return line, port
        said = head + semicolon + parameters
        return b"%s;received=%s%s%s" % (said, address.encode(), comma, others), came_by

    def _sent_by(self, head: bytes) -> Place | None:
        """Host and port of a Via, which one user agent has in all its requests."""
        match = _SENT_BY.fullmatch(head)
        if match is None:
            return None
        port = int(match[3] or _SIP_PORT)
        if not 1 <= port <= 65_535:
            return None
        if len(self._vias) >= REMEMBERED_MAX:
            self._vias.clear()
        sent_by = self._vias[head] = (match[1] or match[2]).decode().lower(), port
        return sent_by


def _judged(line: bytes) -> Judged | None:
    """What a header line is; None: only the server can judge it."""
    name, colon, value = line.partition(b":")
    kind = _SPELT.get(name)
    if kind is None:
        bare = name.rstrip(b" \t").lower()
        # Section 7.3.1: a line that begins with white space goes on with the one before.
        if not colon or not name or name[0] in b" \t" or bare in _TO_BE_UNDERSTOOD:
            return None
        kind = _NAMES.get(bare, _OTHER)
    if kind == _OTHER:
        return _OTHER, b""
    if kind == _EVENT:
        return (_EVENT, b"") if _EVENT_VALUE.fullmatch(value) else None
    if kind == _LENGTH:
        return (_LENGTH, b"") if not value.strip(b" \t0") else None
    if (kind == _CSEQ and _CSEQ_VALUE.fullmatch(value) is None) or (kind == _TO and _TAG.search(value) is not None):
        return None
    return kind, line
