"""The RESPONSE with its stack (figure 6.4 of the thesis): each node on the way back puts its entry behind the others'.

So the entry of the last node on the path comes first in the text, and that of the node nearest to the requester last.
"""

import re
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import PackedAddress, address_text, packed
from netserv.signaling.gist.service import LastBy
from netserv.signaling.nslp import values
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.headers import Method
from netserv.signaling.nslp.requests import THE_NODE
from netserv.signaling.nslp.text import (
    RESPONSE_BYTES_MAX,
    VERSION,
    Header,
    check_header,
    header_lines,
    read_block,
    read_first_line,
    read_headers,
    shown,
    unpadded,
    write_block,
)
from netserv.signaling.nslp.values import ModuleRef

HEAD: Final = ("request", "code", "truncated")
FIXED: Final = ("node-id", "address", "hops", "code", "text", "last-by", "signature")
"Lines of an entry that are not probed."
TEXT_MAX: Final = 512
"Characters of an entry's text: a line or two for a person."
_CODE: Final = re.compile(r"[1-5][0-9]{2}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SIGNATURE: Final = b"\nsignature:"


class StackEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says."""

    node_id: str
    address: PackedAddress
    hops: int
    "IP hops to the node from the one before it, or from the requester."
    code: int
    "One of `Code`, or one that a later version knows."
    text: str = ""
    last_by: LastBy | None = None
    "How the node knows that no other is behind it."
    lines: tuple[Header, ...] = ()
    "Probed lines."
    signature: bytes | None = None
    "Of the node, if it signs: over the request's id and the lines before."
    block: bytes = b""
    "As it was read; empty: not written yet."

    def __post_init__(self) -> None:
        values.read_word(self.node_id)
        if len(self.address) not in {4, 16}:
            raise NslpError("an address has 4 or 16 bytes")
        if self.hops < 0 or _CODE.fullmatch(str(self.code)) is None:
            raise NslpError("an entry has a code of three digits, and hops of 0 or more")
        if len(self.text) > TEXT_MAX:
            raise NslpError(f"the text of an entry has {TEXT_MAX} characters at most")
        for name, value in (("text", self.text), *self.lines):
            check_header(name, value)
        names = {name for name, _ in self.lines}
        if len(names) < len(self.lines) or names & set(FIXED):
            raise NslpError("a probed line comes twice, or has the name of another line")


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of a path say."""

    target: ModuleRef | None
    "As in the request."
    request: bytes
    "Its nonce: `request_id`."
    code: int
    "The largest of the nodes' codes, those included that have no entry here."
    truncated: int = 0
    "Nodes, the nearest ones, whose entries found no room."
    others: tuple[Header, ...] = ()
    stack: tuple[StackEntry, ...] = ()
    "As in the text: the last node's first."

    def __post_init__(self) -> None:
        if len(self.request) != values.NONCE_BYTES:
            raise NslpError(f"a request is named by {values.NONCE_BYTES} bytes")
        if _CODE.fullmatch(str(self.code)) is None or self.truncated < 0:
            raise NslpError("a response has a code of three digits, and truncates 0 nodes or more")
        names = {name for name, _ in self.others}
        if len(names) < len(self.others) or names & set(HEAD):
            raise NslpError("a header comes twice")
        for name, value in self.others:
            check_header(name, value)

    def nearest_first(self) -> tuple[StackEntry, ...]:
        """The stack as people read it: from the requester on."""
        return self.stack[::-1]


def is_response(data: bytes) -> bool:
    """Whether a text is one, whatever follows."""
    return data.startswith(b"RESPONSE ")


def decode(data: bytes) -> Response:
    """The response of what GIST has delivered.

    Raises:
        NslpError: it is none.
    """
    text = unpadded(data)
    if len(text) > RESPONSE_BYTES_MAX:
        raise NslpError(f"a response has {RESPONSE_BYTES_MAX} bytes at most", code=Code.TOO_LARGE)
    head = read_block(text)
    method, target = read_first_line(head.lines)
    if method != Method.RESPONSE:
        raise NslpError(f"{shown(method)} is no RESPONSE")
    headers = dict(read_headers(head.lines[1:]))
    stack = []
    at = head.length
    while at < len(text):
        block = read_block(text, at)
        stack.append(_entry(block.lines, text[at : at + block.length]))
        at += block.length
    return Response(
        target=None if target == THE_NODE else ModuleRef.read(target),
        request=values.read_nonce(_demanded(headers, "request")),
        code=_code(headers),
        truncated=_number(headers, "truncated") if headers.get("truncated") else 0,
        others=tuple((name, value) for name, value in headers.items() if name not in HEAD),
        stack=tuple(stack),
    )


def encode(response: Response) -> bytes:
    """The text, without padding; entries that were read are written as they were.

    Raises:
        NslpError: it is too long (413).
    """
    headers: list[Header] = [("request", response.request.hex()), ("code", str(response.code))]
    if response.truncated:
        headers.append(("truncated", str(response.truncated)))
    first = f"{Method.RESPONSE} {response.target or THE_NODE} {VERSION}"
    head = write_block([first, *header_lines((*headers, *response.others))])
    text = head + b"".join(entry.block or write_entry(entry) for entry in response.stack)
    if len(text) > RESPONSE_BYTES_MAX:
        raise NslpError(f"a response has {RESPONSE_BYTES_MAX} bytes at most", code=Code.TOO_LARGE)
    return text


def pushed(response: Response, entry: StackEntry, *, bytes_max: int = RESPONSE_BYTES_MAX) -> Response:
    """The response with one more entry on its stack; a stack that once had no room grows no more, it only counts.

    Args:
        response: what came from further down.
        entry: this node's.
        bytes_max: that the text may have, without padding.
    """
    stack = (*response.stack, entry)
    truncated = response.truncated
    if truncated:
        stack, truncated = response.stack, truncated + 1
    while True:
        grown = msgspec.structs.replace(response, code=max(response.code, entry.code), stack=stack, truncated=truncated)
        if not stack or _size(grown) <= bytes_max:
            return grown
        # Its own line `truncated:` may be what has no room: then an entry makes way that had some before.
        stack, truncated = stack[:-1], truncated + 1


def write_entry(entry: StackEntry) -> bytes:
    """Lines of one entry, and the empty line."""
    headers: list[Header] = [
        ("node-id", entry.node_id),
        ("address", address_text(entry.address)),
        ("hops", str(entry.hops)),
        ("code", str(entry.code)),
        ("text", entry.text),
    ]
    if entry.last_by is not None:
        headers.append(("last-by", entry.last_by.value))
    headers += entry.lines
    if entry.signature is not None:
        headers.append(("signature", values.write_signature(entry.signature)))
    return write_block(header_lines(headers))


def entry_signed_part(request: bytes, block: bytes) -> bytes:
    """What a node's signature is over: the request's id on a line, and the entry up to the LF before `signature:`."""
    end = block.rfind(_SIGNATURE)
    return f"request:{request.hex()}\n".encode() + (block[:-1] if end < 0 else block[: end + 1])


def _entry(lines: tuple[str, ...], block: bytes) -> StackEntry:
    headers = dict(read_headers(lines))
    if "signature" in headers and next(reversed(headers)) != "signature":
        raise NslpError("a line of an entry stands behind its signature")
    try:
        address = packed(_demanded(headers, "address"))
        last_by = LastBy(headers["last-by"]) if headers.get("last-by") else None
    except ValueError:
        raise NslpError("address or last-by of an entry cannot be read") from None
    return StackEntry(
        node_id=_demanded(headers, "node-id"),
        address=address,
        hops=_number(headers, "hops"),
        code=_code(headers),
        text=headers.get("text", ""),
        last_by=last_by,
        lines=tuple((name, value) for name, value in headers.items() if name not in FIXED),
        signature=values.read_signature(headers["signature"]) if headers.get("signature") else None,
        block=block,
    )


def _size(response: Response) -> int:
    try:
        return len(encode(response))
    except NslpError:
        return RESPONSE_BYTES_MAX + 1


def _demanded(headers: dict[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise NslpError(f"line {name} is missing or empty")
    return value


def _code(headers: dict[str, str]) -> int:
    text = _demanded(headers, "code")
    if _CODE.fullmatch(text) is None:
        raise NslpError(f"code {shown(text)} is not of three digits")
    return int(text)


def _number(headers: dict[str, str], name: str) -> int:
    text = _demanded(headers, name)
    if _NUMBER.fullmatch(text) is None:
        raise NslpError(f"{name} {shown(text)} is no number")
    return int(text)
