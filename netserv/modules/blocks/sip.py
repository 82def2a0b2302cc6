"""SIP messages (RFC 3261), as far as routers need them: read, written, answered. Bounded; one error for strange bytes.

`read` and `response_to` are for servers; what answers a plain request for each packet is in `sip_plain`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from netserv.errors import LocalProtocolError, RemoteProtocolError

MESSAGE_MAX: Final = 65_535
"Bytes: one datagram."
LINES_MAX: Final = 256
"Of headers; a request through many proxies has 40."
COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"Names of one letter (RFC 3261 section 7.3.3 and the registry of IANA)."
_SPELT: Final = {
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "www-authenticate": "WWW-Authenticate",
    "mime-version": "MIME-Version",
}
NEEDED: Final = ("via", "from", "to", "call-id", "cseq")
"Of every message; section 8.1.1 has Max-Forwards too, which keep-alives of old devices lack."
ONCE: Final = frozenset({"from", "to", "call-id", "cseq", "content-length", "max-forwards"})
"May not come twice: two parsers could believe different ones."
SEQUENCE_MAX: Final = (1 << 31) - 1

_REQUEST: Final = re.compile(r"([A-Za-z0-9.!%*_+`'~-]{1,32}) ([^\s\x00-\x20\x7f]{1,1024}) SIP/2\.0")
_STATUS: Final = re.compile(r"SIP/2\.0 ([1-6][0-9]{2}) ([^\x00-\x08\x0a-\x1f\x7f]{0,256})")
_HEADER: Final = re.compile(r"([A-Za-z0-9.!%*_+`'~-]{1,64})[ \t]*:[ \t]*(.*?)[ \t]*", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CSEQ: Final = re.compile(r"([0-9]{1,10})[ \t]+([A-Za-z0-9.!%*_+`'~-]{1,32})")
_DIGITS: Final = re.compile(r"[0-9]{1,5}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_URI: Final = re.compile(
    r"(sips?):(?:([^@\s<>\"]{1,256})@)?(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?((?:;[^;?\s<>]{1,256})*)"
    r"(?:\?[^\s<>]{0,1024})?"
)
_RPORT: Final = re.compile(r";[ \t]*rport[ \t]*(?=;|,|$)", re.IGNORECASE)


class SipError(RemoteProtocolError):
    """No SIP message, or one that breaks a rule."""


class Headers(msgspec.Struct, frozen=True):
    """Header lines, in their order; names in small letters and never compact."""

    lines: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The first line of a name, as `via`."""
        return next((value for line, value in self.lines if line == name), None)

    def all(self, name: str) -> tuple[str, ...]:
        """All lines of a name."""
        return tuple(value for line, value in self.lines if line == name)


class SipRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request (section 7.1)."""

    method: str
    uri: str
    headers: Headers
    body: bytes = b""


class SipResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response (section 7.2)."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""


class SipUri(msgspec.Struct, frozen=True, kw_only=True):
    """`sip:user@host:port;parameters` (section 19.1)."""

    scheme: str
    user: str | None
    "With a password, if there is one."
    host: str
    port: int | None
    parameters: tuple[tuple[str, str | None], ...] = ()


class SipAddress(msgspec.Struct, frozen=True, kw_only=True):
    """From, To, Contact: `"name" <uri>;tag=x` (section 20.10)."""

    name: str
    uri: str
    parameters: tuple[tuple[str, str | None], ...] = ()

    @property
    def tag(self) -> str | None:
        """Of a dialog."""
        return dict(self.parameters).get("tag")


def read(data: bytes | memoryview) -> SipRequest | SipResponse:
    """The message of a datagram.

    Raises:
        SipError: it is none. Bytes behind `Content-Length` are left out (section 18.3).
    """
    if len(data) > MESSAGE_MAX:
        raise SipError(f"more than {MESSAGE_MAX} bytes")
    # Section 7.5: empty lines before the start line are ignored.
    head, found, body = bytes(data).lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not found:
        raise SipError("no empty line behind the headers")
    try:
        first, *lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise SipError("headers that are no UTF-8") from None
    headers = _headers(lines)
    length = headers.get("content-length")
    if length is not None:
        if _DIGITS.fullmatch(length) is None or int(length) > len(body):
            raise SipError(f"content-length {length[:20]!r}, with {len(body)} bytes")
        body = body[: int(length)]
    request, status = _REQUEST.fullmatch(first), _STATUS.fullmatch(first)
    if request is not None:
        if cseq_of(headers)[1] != request[1]:
            raise SipError("method of CSeq is another one")
        return SipRequest(method=request[1], uri=request[2], headers=headers, body=body)
    if status is None:
        raise SipError(f"no start line: {first[:80]!r}")
    return SipResponse(status=int(status[1]), reason=status[2], headers=headers, body=body)


def write(message: SipRequest | SipResponse) -> bytes:
    """A message as bytes, with a `Content-Length`.

    Raises:
        LocalProtocolError: nobody could read it.
    """
    if isinstance(message, SipRequest):
        first = f"{message.method} {message.uri} SIP/2.0"
    else:
        first = f"SIP/2.0 {message.status} {message.reason}"
    for name, value in message.headers.lines:
        if _TOKEN.fullmatch(name) is None or _CONTROL.search(value) is not None:
            raise LocalProtocolError(f"no SIP message: header {name[:40]!r}: {value[:80]!r}")
    lines = [f"{_spelt(name)}: {value}" for name, value in message.headers.lines if name != "content-length"]
    head = "\r\n".join([first, *lines, f"Content-Length: {len(message.body)}", "", ""])
    try:
        data = head.encode() + message.body
        read(data)
    except (SipError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"no SIP message: {error}") from None
    return data


def response_to(
    request: SipRequest,
    status: int,
    reason: str,
    *,
    to_tag: str,
    source: tuple[str, int] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> SipResponse:
    """The response to a request (section 8.2.6).

    Args:
        request: as it came.
        status: 100 to 699.
        reason: in words.
        to_tag: for `To`, where it has none yet; by chance, and the same for each repetition of the request.
        source: address and port that it came from, for `received` (section 18.2.1) and `rport` (RFC 3581).
        headers: more of them, names in small letters.
        body: of the response.
    """
    lines: list[tuple[str, str]] = []
    for name, value in request.headers.lines:
        if name == "via" and source is not None and not lines:
            lines.append((name, _received(value, *source)))
        elif name == "to" and status != 100 and read_address(value).tag is None:
            lines.append((name, f"{value};tag={to_tag}"))
        elif name in NEEDED:
            lines.append((name, value))
    return SipResponse(status=status, reason=reason, headers=Headers((*lines, *headers)), body=body)


def cseq_of(headers: Headers) -> tuple[int, str]:
    """Number and method of `CSeq`.

    Raises:
        SipError: it has none.
    """
    match = _CSEQ.fullmatch(headers.get("cseq") or "")
    if match is None or int(match[1]) > SEQUENCE_MAX:
        raise SipError(f"CSeq is no number below 2^31 and a method: {(headers.get('cseq') or '')[:40]!r}")
    return int(match[1]), match[2]


def read_uri(text: str) -> SipUri:
    """Take a URI apart.

    Raises:
        SipError: it is no sip or sips URI.
    """
    match = _URI.fullmatch(text)
    if match is None or (match[4] is not None and not 1 <= int(match[4]) <= 65_535):
        raise SipError(f"{text[:80]!r} is no SIP URI")
    port = None if match[4] is None else int(match[4])
    parameters = tuple(_parameters(match[5]))
    return SipUri(scheme=match[1], user=match[2], host=match[3].lower(), port=port, parameters=parameters)


def read_address(value: str) -> SipAddress:
    """Take the value of From, To or one Contact apart.

    Raises:
        SipError: it is none.
    """
    name, quoted, rest = _display_name(value)
    before, angle, behind = rest.partition("<")
    if angle:
        uri, closed, parameters = behind.partition(">")
        name = name if quoted else before.strip()
        if not closed or (quoted and before.strip()):
            raise SipError(f"{value[:80]!r} is no address")
    else:
        uri, semicolon, more = rest.partition(";")
        parameters = semicolon + more
        if quoted:
            raise SipError(f"{value[:80]!r} is no address")
    uri, parameters = uri.strip(), parameters.strip()
    if not uri or (parameters and not parameters.startswith(";")) or any(letter.isspace() for letter in uri):
        raise SipError(f"{value[:80]!r} is no address")
    return SipAddress(name=name, uri=uri, parameters=tuple(_parameters(parameters)))


def _display_name(value: str) -> tuple[str, bool, str]:
    """A quoted name at the beginning, whether there is one, and what follows."""
    text = value.lstrip()
    if not text.startswith('"'):
        return "", False, text
    name, at = [], 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        name.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise SipError(f"{value[:80]!r}: a quote without end")
    return "".join(name), True, text[at + 1 :]


def _parameters(text: str) -> Iterator[tuple[str, str | None]]:
    """`;name=value;name`; values in quotes have no semicolon here."""
    for part in text.split(";")[1:]:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if _TOKEN.fullmatch(name) is None:
            raise SipError(f"{part[:40]!r} is no parameter")
        yield name.lower(), value if equals else None


def _headers(lines: list[str]) -> Headers:
    if len(lines) > LINES_MAX:
        raise SipError(f"more than {LINES_MAX} lines of headers")
    found: list[tuple[str, str]] = []
    for line in _unfolded(lines):
        match = _HEADER.fullmatch(line)
        if match is None or _CONTROL.search(match[2]) is not None:
            raise SipError(f"no header: {line[:80]!r}")
        name = match[1].lower()
        found.append((COMPACT.get(name, name), match[2]))
    names = [name for name, _ in found]
    for name in NEEDED:
        if name not in names:
            raise SipError(f"no {_spelt(name)}")
    for name in ONCE:
        if names.count(name) > 1:
            raise SipError(f"{_spelt(name)} twice")
    return Headers(tuple(found))


def _unfolded(lines: list[str]) -> Iterator[str]:
    """Lines that begin with a space belong to the one before (section 7.3.1)."""
    whole: str | None = None
    for line in lines:
        if line.startswith((" ", "\t")) and whole is not None:
            whole = f"{whole.rstrip()} {line.strip()}"
            continue
        if whole is not None:
            yield whole
        whole = line
    if whole is not None:
        yield whole


def _spelt(name: str) -> str:
    return _SPELT.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def _received(via: str, address: str, port: int) -> str:
    """The topmost Via, with where the request came from."""
    first, comma, others = via.partition(",")
    asked = _RPORT.search(first)
    if asked is not None:
        first = f"{first[: asked.start()]};rport={port}{first[asked.end() :]}"
    sent_by = first.split(";")[0].split()
    host = sent_by[-1].rsplit(":", 1)[0].strip("[]") if sent_by else ""
    if asked is not None or host != address:
        first = f"{first};received={address}"
    return first + comma + others
