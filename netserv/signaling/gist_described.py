"""GIST messages in words: names and values of a message's fields, readable or not, for people and for JSON."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from netserv.signaling.gist import tlv, wire
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.gist.errors import (
    ErrorCode,
    FormatError,
    GistError,
    HeaderFault,
    RoutingFault,
    TypeFault,
    ValueFault,
)
from netserv.signaling.gist.header import MessageType
from netserv.signaling.gist.objects.error_object import decode_error_object
from netserv.signaling.gist.objects.mri import LooseEndMri, OffPathMri, PathCoupledMri, decode_mri
from netserv.signaling.gist.objects.nat_traversal import decode_nat_traversal
from netserv.signaling.gist.objects.nli import decode_nli
from netserv.signaling.gist.objects.opaque import decode_hello_id
from netserv.signaling.gist.objects.stack_configuration import decode_stack_configuration
from netserv.signaling.gist.objects.stack_proposal import StackProtocol, decode_stack_proposal
from netserv.signaling.gist.tlv import HEADER_SIZE, ObjectType

Fields: TypeAlias = dict[str, Any]
"Names and plain values: text, numbers, lists, and further fields."

NAMES: Final = {
    MessageType.QUERY: "Query",
    MessageType.RESPONSE: "Response",
    MessageType.CONFIRM: "Confirm",
    MessageType.DATA: "Data",
    MessageType.ERROR: "Error",
    MessageType.MA_HELLO: "MA-Hello",
}
OBJECT_NAMES: Final = {
    ObjectType.MRI: "Message-Routing-Information",
    ObjectType.SID: "Session-Identifier",
    ObjectType.NLI: "Network-Layer-Information",
    ObjectType.STACK_PROPOSAL: "Stack-Proposal",
    ObjectType.STACK_CONFIGURATION: "Stack-Configuration-Data",
    ObjectType.QUERY_COOKIE: "Query-Cookie",
    ObjectType.RESPONDER_COOKIE: "Responder-Cookie",
    ObjectType.NAT_TRAVERSAL: "NAT-Traversal",
    ObjectType.NSLP_DATA: "NSLP-Data",
    ObjectType.ERROR: "Error",
    ObjectType.HELLO_ID: "Hello-ID",
}
_SUBCODES: Final[Mapping[int, Callable[[int], Any]]] = {
    ErrorCode.COMMON_HEADER_PARSE_ERROR: HeaderFault,
    ErrorCode.OBJECT_TYPE_ERROR: TypeFault,
    ErrorCode.OBJECT_VALUE_ERROR: ValueFault,
    ErrorCode.MRI_VALIDATION_FAILURE: RoutingFault,
}
_METHODS: Final = {PathCoupledMri: "path-coupled", LooseEndMri: "loose-end", OffPathMri: "off-path"}
_PROTOCOLS: Final = {StackProtocol.FORWARDS_TCP: "TCP", StackProtocol.FORWARDS_TLS: "TLS"}


def described(data: bytes, *, on_association: bool) -> tuple[Fields, GistError | None]:
    """A message, as far as it can be read, and what is wrong with it."""
    wrong: GistError | None = None
    try:
        wire.decode(data, on_association=on_association)
    except GistError as error:
        wrong = error
    fields = _header(data)
    fields["bytes"] = len(data)
    fields["objects"] = [_object(first, value) for first, value in tlv.listed(data)]
    return fields, wrong


def error_name(code: int, subcode: int) -> str:
    """The words of the catalogue (RFC 5971 appendix A.4.4)."""
    try:
        name = _words(ErrorCode(code).name)
        return f"{name}: {_words(_SUBCODES[code](subcode).name)}" if code in _SUBCODES else name
    except ValueError:
        return f"code {code}, subcode {subcode}"


def text_of(payload: bytes) -> str | None:
    """The text of an NSLP payload, which has NULs behind it up to a whole word; None where it is no text."""
    try:
        text = payload.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\r\n\t" for char in text) else None


def _header(data: bytes) -> Fields:
    if len(data) < HEADER_SIZE:
        return {"message": None, "header": data.hex()}
    kind = data[6] & 0x7F
    flags = [
        name for name, at, bit in (("C", 6, 0x80), ("S", 7, 0x80), ("R", 7, 0x40), ("E", 7, 0x20)) if data[at] & bit
    ]
    return {
        "message": NAMES[MessageType(kind)] if kind in NAMES else f"type {kind}",
        "version": data[0],
        "hops": data[1],
        "nslp_id": int.from_bytes(data[4:6], "big"),
        "flags": flags,
        "length_words": int.from_bytes(data[2:4], "big"),
    }


def _object(first: int, value: bytes) -> Fields:
    kind, extensibility = first & 0x0FFF, first >> 14
    fields: Fields = {"object": _object_name(kind)}
    if extensibility:
        fields["flags"] = f"{extensibility:02b}"
    if kind not in OBJECT_NAMES:
        return fields | {"value": value.hex()}
    try:
        return fields | _VALUES[ObjectType(kind)](value)
    except FormatError as error:
        return fields | {"value": value.hex(), "wrong": str(error)}


def _object_name(kind: int) -> str:
    return OBJECT_NAMES[ObjectType(kind)] if kind in OBJECT_NAMES else f"object {kind}"


def _mri(value: bytes) -> Fields:
    mri = decode_mri(value)
    fields: Fields = {"method": _METHODS[type(mri)], "direction": mri.direction.name.lower()}
    source, destination = address_text(mri.source), address_text(mri.destination)
    if not isinstance(mri, PathCoupledMri):
        where = {"area": mri.area.name.lower(), "radius": mri.radius} if isinstance(mri, OffPathMri) else {}
        return fields | where | {"source": source, "destination": destination}
    fields |= {"source": f"{source}/{mri.source_prefix}", "destination": f"{destination}/{mri.destination_prefix}"}
    names = ("protocol", "source_port", "destination_port", "dscp", "flow_label", "spi")
    return fields | {name: found for name in names if (found := getattr(mri, name)) is not None}


def _nli(value: bytes) -> Fields:
    nli = decode_nli(value)
    return {
        "identity": nli.peer_identity.hex(),
        "address": address_text(nli.address),
        "ip_ttl": nli.ip_ttl,
        "validity_ms": nli.validity_ms,
    }


def _proposal(value: bytes) -> Fields:
    profiles = decode_stack_proposal(value).profiles
    return {"profiles": ["/".join(_protocol(protocol) for protocol in profile) for profile in profiles]}


def _configuration(value: bytes) -> Fields:
    configuration = decode_stack_configuration(value)
    options = []
    for option in configuration.options:
        fields: Fields = {"protocol": _protocol(option.protocol), "profile": option.profile or "all"}
        if option.port is not None:
            fields["port"] = option.port
        elif option.data:
            fields["data"] = option.data.hex()
        options.append(fields | ({"must_not_be_used": True} if option.must_not_be_used else {}))
    return {"hold_time_ms": configuration.hold_time_ms, "options": options}


def _nat(value: bytes) -> Fields:
    nat = decode_nat_traversal(value)
    return {
        "original": _mri_or_hex(nat.original_mri),
        "translated": [_object_name(first & 0x0FFF) for first in nat.translated_types],
        "nats": [opaque.hex() for opaque in nat.opaque],
    }


def _error(value: bytes) -> Fields:
    error = decode_error_object(value)
    fields: Fields = {
        "error": error_name(error.code, error.subcode),
        "class": error.error_class,
        "about": _header(error.original_header),
        "came_in": "Q-mode" if error.was_q_mode else "D-mode" if error.was_d_mode else "C-mode",
    }
    if error.sid is not None:
        fields["session"] = error.sid.hex()
    if error.mri is not None:
        fields["flow"] = _mri_or_hex(error.mri)
    if error.info:
        fields["info"] = [{"type": kind, "value": words.hex()} for kind, words in error.info]
    return fields if error.comment is None else fields | {"comment": error.comment}


def _payload(value: bytes) -> Fields:
    text = text_of(value)
    return {"value": value.hex()} if text is None else {"text": text}


def _mri_or_hex(value: bytes) -> Fields | str:
    try:
        return _mri(value)
    except FormatError:
        return value.hex()


def _protocol(number: int) -> str:
    return _PROTOCOLS[StackProtocol(number)] if number in _PROTOCOLS else str(number)


def _words(name: str) -> str:
    return name.capitalize().replace("_", " ")


_VALUES: Final[Mapping[ObjectType, Callable[[bytes], Fields]]] = {
    ObjectType.MRI: _mri,
    ObjectType.SID: lambda value: {"value": value.hex()},
    ObjectType.NLI: _nli,
    ObjectType.STACK_PROPOSAL: _proposal,
    ObjectType.STACK_CONFIGURATION: _configuration,
    ObjectType.QUERY_COOKIE: lambda value: {"value": value.hex()},
    ObjectType.RESPONDER_COOKIE: lambda value: {"value": value.hex()},
    ObjectType.NAT_TRAVERSAL: _nat,
    ObjectType.NSLP_DATA: _payload,
    ObjectType.ERROR: _error,
    ObjectType.HELLO_ID: lambda value: {"id": decode_hello_id(value)},
}
