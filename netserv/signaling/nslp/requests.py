"""The four requests: SETUP, REMOVE, PROBE and TRIGGER (NetServ design, section 2), as values and as text.

A value keeps the bytes that it was read from: a node sends on what it got, and the signature is over those.
"""

import hashlib
from typing import Any, Final, TypeAlias, cast

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.headers import Method, check_fields, check_signed, read_fields, write_fields
from netserv.signaling.nslp.text import (
    REQUEST_BYTES_MAX,
    VERSION,
    Header,
    header_lines,
    read_block,
    read_first_line,
    read_headers,
    shown,
    unpadded,
    write_block,
)
from netserv.signaling.nslp.values import Around, Dependency, Flow, ModuleRef, Prefix, Property

THE_NODE: Final = "*"
"Target of a PROBE that asks about the node, not a module."
_SIGNATURE: Final = b"\nsignature:"
REQUEST_ID_BYTES: Final = 16


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Install a module, or refresh it."""

    target: ModuleRef
    ttl_s: int
    "Seconds, 1 or more; a node may lower it."
    url: str
    "Where the bundle is."
    digest: bytes
    "SHA-256 of the bundle."
    user: str
    "The publisher."
    dependencies: tuple[Dependency, ...] = ()
    filter_ports: tuple[int, ...] = ()
    "Destination ports of the packets that go to the module; with `filter_proto`."
    filter_proto: str | None = None
    filter_dst: Prefix | None = None
    "Of these packets; None: the flow's source."
    notification: str | None = None
    "XML-RPC URL, called when the module is installed or removed."
    node_id: str | None = None
    "Only this node acts."
    properties: tuple[Property, ...] = ()
    around: Around | None = None
    "For the nodes around a place of the flow; None: for those on its path."
    long_session: bool = False
    "The routing state is to stay, for further requests in this session."
    password: str | None = None
    nonce: bytes | None = None
    expires: int | None = None
    "Unix time."
    flow: Flow | None = None
    others: tuple[Header, ...] = ()
    "Headers that nobody here knows."
    signature: bytes | None = None
    text: bytes = b""
    "As it was read; empty: not written yet."

    def __post_init__(self) -> None:
        check_fields(self)
        if bool(self.filter_ports) != (self.filter_proto is not None):
            raise NslpError("filter-port and filter-proto stand together or not at all")
        if self.filter_dst is not None and not self.filter_ports:
            raise NslpError("filter-dst says where packets go that no filter-port names")


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a module."""

    target: ModuleRef
    user: str
    notification: str | None = None
    node_id: str | None = None
    around: Around | None = None
    long_session: bool = False
    nonce: bytes | None = None
    expires: int | None = None
    flow: Flow | None = None
    others: tuple[Header, ...] = ()
    signature: bytes | None = None
    text: bytes = b""

    def __post_init__(self) -> None:
        check_fields(self)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Ask nodes how they, or a module on them, stand."""

    target: ModuleRef | None = None
    "None: the node itself."
    items: tuple[str, ...]
    "What is asked for."
    user: str | None = None
    "None: a public probe, which nodes may refuse."
    node_id: str | None = None
    around: Around | None = None
    long_session: bool = False
    nonce: bytes | None = None
    expires: int | None = None
    flow: Flow | None = None
    others: tuple[Header, ...] = ()
    signature: bytes | None = None
    text: bytes = b""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.items:
            raise NslpError("header probe is empty")


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """Have the last node send a request back towards the sender (thesis 7.5.1)."""

    target: ModuleRef | None = None
    inner: "Setup | Probe"
    "Signed by itself, for the flow back."
    user: str | None = None
    node_id: str | None = None
    "This node is to send it, though others are behind."
    body_length: int = 0
    "Bytes of the inner request; 0: not counted yet."
    others: tuple[Header, ...] = ()
    signature: bytes | None = None
    "Over the headers: the inner request has its own."
    text: bytes = b""

    def __post_init__(self) -> None:
        size = len(encode(self.inner))
        if self.body_length not in {0, size}:
            raise NslpError(f"body-length is {self.body_length}, and the request has {size} bytes")
        msgspec.structs.force_setattr(self, "body_length", size)
        check_fields(self)
        if self.target not in {None, self.inner.target}:
            raise NslpError(f"TRIGGER {self.target} holds a request about {self.inner.target or THE_NODE}")


Request: TypeAlias = Setup | Remove | Probe | Trigger


def decode(data: bytes) -> Request:
    """The request of what GIST has delivered.

    Raises:
        NslpError: it is none, with the code for this node's entry.
    """
    text = unpadded(data)
    if len(text) > REQUEST_BYTES_MAX:
        raise NslpError(f"a request has {REQUEST_BYTES_MAX} bytes at most, not {len(text)}", code=Code.TOO_LARGE)
    head = read_block(text)
    word, target = read_first_line(head.lines)
    try:
        method = Method(word)
    except ValueError:
        raise NslpError(f"{shown(word)} is no request; SETUP, REMOVE, PROBE and TRIGGER are") from None
    headers = read_headers(head.lines[1:])
    body = text[head.length :]
    if method is Method.RESPONSE:
        raise NslpError("RESPONSE is no request")
    fields = read_fields(method, headers) | {"text": text}
    check_signed(fields.get("user"), fields.get("signature"))
    if method is Method.TRIGGER:
        return _trigger(target, fields, body)
    if body:
        raise NslpError(f"{len(body)} bytes stand behind the empty line")
    match method:
        case Method.SETUP:
            return Setup(target=ModuleRef.read(target), **fields)
        case Method.REMOVE:
            return Remove(target=ModuleRef.read(target), **fields)
        case _:
            return Probe(target=_module_or_node(target), **fields)


def encode(request: Request) -> bytes:
    """The text, without padding: as it was read, or written now.

    Raises:
        NslpError: it would be too long (413).
    """
    text = request.text
    if not text:
        target = str(request.target or THE_NODE)
        first = f"{method_of(request)} {target} {VERSION}"
        text = write_block([first, *header_lines(write_fields(request))])
        if isinstance(request, Trigger):
            text += encode(request.inner)
    if len(text) > REQUEST_BYTES_MAX:
        raise NslpError(f"a request has {REQUEST_BYTES_MAX} bytes at most, not {len(text)}", code=Code.TOO_LARGE)
    return text


def method_of(request: Request) -> Method:
    """The first word."""
    match request:
        case Setup():
            return Method.SETUP
        case Remove():
            return Method.REMOVE
        case Probe():
            return Method.PROBE
        case Trigger():
            return Method.TRIGGER


def signed_part(text: bytes) -> bytes:
    """What a signature is over: from the request line to the LF before `signature:`; without one, all headers."""
    head = text[: read_block(text).length]
    end = head.rfind(_SIGNATURE)
    return head if end < 0 else head[: end + 1]


def identity_of(text: bytes) -> bytes:
    """Hash of what a text says: two with the same one are the same request, come twice.

    How a line behind the signature ends does not count: nobody has signed it.
    """
    try:
        said = signed_part(text) + text[read_block(text).length :]
    except NslpError:
        said = text
    return hashlib.sha256(said).digest()


def request_id(request: Request | None, text: bytes) -> bytes:
    """By what a response names a request: its nonce, else a hash of it, 16 bytes; a TRIGGER is named as what it holds.

    Args:
        request: None where the text cannot be read.
        text: as it came, without padding.
    """
    if isinstance(request, Trigger):
        return request_id(request.inner, encode(request.inner))
    if request is not None and request.nonce is not None:
        return request.nonce
    return identity_of(text)[:REQUEST_ID_BYTES]


def refreshes(newer: Setup, older: Setup) -> bool:
    """Whether a SETUP only prolongs another one: it says the same but for ttl, nonce, expires and signature."""
    return _lasting(newer) == _lasting(older)


def _lasting(setup: Setup) -> Setup:
    return msgspec.structs.replace(setup, ttl_s=1, nonce=None, expires=None, signature=None, text=b"")


def _module_or_node(target: str) -> ModuleRef | None:
    return None if target == THE_NODE else ModuleRef.read(target)


def _trigger(target: str, fields: dict[str, Any], body: bytes) -> Trigger:
    if fields["body_length"] != len(body) or not body:
        raise NslpError(f"body-length is {fields['body_length']}, and {len(body)} bytes follow")
    if not body.startswith((b"SETUP ", b"PROBE ")):  # a TRIGGER in a TRIGGER in a TRIGGER is not even read
        raise NslpError("a TRIGGER holds a SETUP or a PROBE, nothing else")
    return Trigger(target=_module_or_node(target), inner=cast("Setup | Probe", decode(body)), **fields)
