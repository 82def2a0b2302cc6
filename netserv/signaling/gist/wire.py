"""Messages to bytes and back (RFC 5971 sections 5.1, 5.2, appendix A). Only the files of the codec see bytes.

A message is bytes from the common header on; in a datagram the magic number stands before it.
"""

from collections.abc import Callable
from typing import Any, Final

from netserv.errors import LocalProtocolError
from netserv.signaling.gist import tlv
from netserv.signaling.gist.errors import FormatError, GistError, TypeFault
from netserv.signaling.gist.faults import error_about, on_the_wire
from netserv.signaling.gist.header import CommonHeader, MessageType, encode_header
from netserv.signaling.gist.messages import Confirm, Data, Error, MaHello, Message, Query, Response
from netserv.signaling.gist.objects.error_object import decode_error_object
from netserv.signaling.gist.objects.mri import Mri, decode_mri
from netserv.signaling.gist.objects.nat_traversal import decode_nat_traversal
from netserv.signaling.gist.objects.nli import decode_nli
from netserv.signaling.gist.objects.opaque import check_words, decode_hello_id
from netserv.signaling.gist.objects.stack_configuration import decode_stack_configuration
from netserv.signaling.gist.objects.stack_proposal import decode_stack_proposal
from netserv.signaling.gist.stream import StreamCutter
from netserv.signaling.gist.tlv import HEADER_SIZE, ObjectType, framed

__all__ = [
    "MAGIC",
    "CommonHeader",
    "MessageType",
    "StreamCutter",
    "decode",
    "encode",
    "error_about",
    "forwarded",
    "header_of",
    "mri_from",
]

MAGIC: Final = bytes.fromhex("4e04bda5")
"Before the message in every UDP datagram (section 5.3.1.1)."

_NAT, _MRI, _SID, _NLI = ObjectType.NAT_TRAVERSAL, ObjectType.MRI, ObjectType.SID, ObjectType.NLI
_QC, _RC = ObjectType.QUERY_COOKIE, ObjectType.RESPONDER_COOKIE
_SP, _SCD, _NSLP = ObjectType.STACK_PROPOSAL, ObjectType.STACK_CONFIGURATION, ObjectType.NSLP_DATA

_Objects = dict[int, bytes]


def header_of(data: bytes) -> CommonHeader:
    """The common header, for what is to be treated before the objects.

    Raises:
        GistError: it breaks a rule.
    """
    return CommonHeader.decode(data)


def mri_from(value: bytes) -> Mri:
    """The MRI of `Mri.encode`.

    Raises:
        GistError: it breaks a rule.
    """
    try:
        return decode_mri(value)
    except FormatError as refused:
        raise on_the_wire(refused, bytes(HEADER_SIZE) + framed(_MRI, value[: tlv.VALUE_MAX])) from refused


def decode(data: bytes, *, header: CommonHeader | None = None, on_association: bool | None = None) -> Message:
    """Read one message, which is all of the data.

    Args:
        data: from the common header on.
        header: what `header_of` has read, if it did.
        on_association: how it came, where the NLI of Data and Error is to be checked, which is there in D-mode only.

    Raises:
        GistError: it breaks a rule.
    """
    header = header or CommonHeader.decode(data)
    if len(data) != HEADER_SIZE + 4 * header.length_words:
        raise tlv.wrong_length(data)
    order, required, read = _FORMATS[header.kind]
    objects = tlv.split(data, order)
    if not required <= objects.keys():
        raise _missing(min(required - objects.keys(), key=order.__getitem__))
    if on_association is not None and header.kind in _NLI_BY_ENCAPSULATION:
        _check_nli(_NLI in objects, on_association)
    try:
        return read(header, objects)
    except FormatError as refused:
        raise on_the_wire(refused, data) from refused


def encode(message: Message) -> bytes:
    """Write one message, from the common header on."""
    return _WRITERS[type(message)](message)


def forwarded(data: bytes, *, hops: int, nslp_data: bytes | None = None) -> bytes:
    """A received message as it goes on: bytes as they came, but for the hop count (section 4.3.2).

    Args:
        data: from the common header on; `decode` or `header_of` has taken it.
        hops: the new count.
        nslp_data: the payload to replace the message's, or to be added to it; None: the message's own.

    Raises:
        LocalProtocolError: the payload is not whole words, or too long.
    """
    if nslp_data is None:
        return bytes((data[0], hops)) + data[2:]
    check_words(nslp_data, _NSLP)
    place = tlv.place_of(data, _NSLP) or slice(len(data), len(data))
    body = data[HEADER_SIZE : place.start] + framed(_NSLP, nslp_data) + data[place.stop :]
    if len(body) > 4 * 0xFFFF:
        raise LocalProtocolError("the message would be over 262,148 bytes with that payload")
    return bytes((data[0], hops)) + (len(body) // 4).to_bytes(2, "big") + data[4:HEADER_SIZE] + body


def _check_nli(there: bool, on_association: bool) -> None:
    if there and on_association:
        raise tlv.wrong_type("NLI on an association", TypeFault.INVALID, _NLI)
    if not there and not on_association:
        raise _missing(_NLI)


def _missing(kind: int) -> GistError:
    return tlv.wrong_type(f"{ObjectType(kind).name} is missing", TypeFault.MISSING, kind)


# Reading: each function gets what its message must have, and what it may have.


def _nat(objects: _Objects) -> Any:
    return decode_nat_traversal(objects[_NAT]) if _NAT in objects else None


def _stack(objects: _Objects) -> tuple[Any, Any]:
    proposal, configuration = objects.get(_SP), objects.get(_SCD)
    return (
        None if proposal is None else decode_stack_proposal(proposal),
        None if configuration is None else decode_stack_configuration(configuration),
    )


def _read_query(header: CommonHeader, objects: _Objects) -> Query:
    proposal, configuration = _stack(objects)
    return Query(
        nslp_id=header.nslp_id,
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        mri=decode_mri(objects[_MRI]),
        sid=objects[_SID],
        nli=decode_nli(objects[_NLI]),
        query_cookie=objects[_QC],
        stack_proposal=proposal,
        stack_configuration=configuration,
        nslp_data=objects.get(_NSLP),
        nat=_nat(objects),
    )


def _read_response(header: CommonHeader, objects: _Objects) -> Response:
    proposal, configuration = _stack(objects)
    return Response(
        nslp_id=header.nslp_id,
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        wants_confirm=header.wants_reply,
        mri=decode_mri(objects[_MRI]),
        sid=objects[_SID],
        nli=decode_nli(objects[_NLI]),
        query_cookie=objects[_QC],
        responder_cookie=objects.get(_RC),
        stack_proposal=proposal,
        stack_configuration=configuration,
        nslp_data=objects.get(_NSLP),
        nat=_nat(objects),
    )


def _read_confirm(header: CommonHeader, objects: _Objects) -> Confirm:
    proposal, configuration = _stack(objects)
    return Confirm(
        nslp_id=header.nslp_id,
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        mri=decode_mri(objects[_MRI]),
        sid=objects[_SID],
        nli=decode_nli(objects[_NLI]),
        responder_cookie=objects.get(_RC),
        stack_proposal=proposal,
        stack_configuration=configuration,
        nslp_data=objects.get(_NSLP),
    )


def _read_data(header: CommonHeader, objects: _Objects) -> Data:
    return Data(
        nslp_id=header.nslp_id,
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        q_mode=header.context_free,
        explicitly_routed=header.explicitly_routed,
        mri=decode_mri(objects[_MRI]),
        sid=objects[_SID],
        nli=decode_nli(objects[_NLI]) if _NLI in objects else None,
        nslp_data=objects[_NSLP],
        nat=_nat(objects),
    )


def _read_error(header: CommonHeader, objects: _Objects) -> Error:
    return Error(
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        nli=decode_nli(objects[_NLI]) if _NLI in objects else None,
        error=decode_error_object(objects[ObjectType.ERROR]),
        nat=_nat(objects),
    )


def _read_ma_hello(header: CommonHeader, objects: _Objects) -> MaHello:
    return MaHello(
        hops=header.hops,
        source_is_signaller=header.source_is_signaller,
        wants_reply=header.wants_reply,
        hello_id=decode_hello_id(objects[ObjectType.HELLO_ID]),
    )


def _format(
    order: tuple[ObjectType, ...], required: set[ObjectType], read: Callable[[CommonHeader, _Objects], Message]
) -> tuple[dict[int, int], frozenset[int], Callable[[CommonHeader, _Objects], Message]]:
    return {int(kind): place for place, kind in enumerate(order)}, frozenset(map(int, required)), read


_FORMATS: Final = {
    int(MessageType.QUERY): _format(
        (_NAT, _MRI, _SID, _NLI, _QC, _SP, _SCD, _NSLP), {_MRI, _SID, _NLI, _QC}, _read_query
    ),
    int(MessageType.RESPONSE): _format(
        (_NAT, _MRI, _SID, _NLI, _QC, _RC, _SP, _SCD, _NSLP), {_MRI, _SID, _NLI, _QC}, _read_response
    ),
    int(MessageType.CONFIRM): _format((_MRI, _SID, _NLI, _RC, _SP, _SCD, _NSLP), {_MRI, _SID, _NLI}, _read_confirm),
    int(MessageType.DATA): _format((_NAT, _MRI, _SID, _NLI, _NSLP), {_MRI, _SID, _NSLP}, _read_data),
    int(MessageType.ERROR): _format((_NAT, _NLI, ObjectType.ERROR), {ObjectType.ERROR}, _read_error),
    int(MessageType.MA_HELLO): _format((ObjectType.HELLO_ID,), {ObjectType.HELLO_ID}, _read_ma_hello),
}
"The order of objects (section 5.1), which of them must be there, and who reads them."
_NLI_BY_ENCAPSULATION: Final = frozenset({int(MessageType.DATA), int(MessageType.ERROR)})


# Writing: the values were checked when they were made, and so everything fits.


def _write_query(message: Query) -> bytes:
    parts = (*_beginning(message), framed(_QC, message.query_cookie), *_offer(message), _payload(message.nslp_data))
    return _whole(MessageType.QUERY, message, parts, nslp_id=message.nslp_id, c=True, r=True)


def _write_response(message: Response) -> bytes:
    cookie = message.responder_cookie
    parts = (
        *_beginning(message),
        framed(_QC, message.query_cookie),
        b"" if cookie is None else framed(_RC, cookie),
        *_offer(message),
        _payload(message.nslp_data),
    )
    return _whole(MessageType.RESPONSE, message, parts, nslp_id=message.nslp_id, r=message.wants_confirm)


def _write_confirm(message: Confirm) -> bytes:
    cookie = message.responder_cookie
    parts = (
        framed(_MRI, message.mri.encode()),
        framed(_SID, message.sid),
        framed(_NLI, message.nli.encode()),
        b"" if cookie is None else framed(_RC, cookie),
        *_offer(message),
        _payload(message.nslp_data),
    )
    return _whole(MessageType.CONFIRM, message, parts, nslp_id=message.nslp_id)


def _write_data(message: Data) -> bytes:
    parts = (*_beginning(message), _payload(message.nslp_data))
    return _whole(
        MessageType.DATA, message, parts, nslp_id=message.nslp_id, c=message.q_mode, e=message.explicitly_routed
    )


def _write_error(message: Error) -> bytes:
    parts = (
        b"" if message.nat is None else framed(_NAT, message.nat.encode()),
        b"" if message.nli is None else framed(_NLI, message.nli.encode()),
        framed(ObjectType.ERROR, message.error.encode()),
    )
    return _whole(MessageType.ERROR, message, parts)


def _write_ma_hello(message: MaHello) -> bytes:
    parts = (framed(ObjectType.HELLO_ID, message.hello_id.to_bytes(4, "big")),)
    return _whole(MessageType.MA_HELLO, message, parts, r=message.wants_reply)


def _beginning(message: Query | Response | Data) -> tuple[bytes, ...]:
    nat, nli = message.nat, message.nli
    return (
        b"" if nat is None else framed(_NAT, nat.encode()),
        framed(_MRI, message.mri.encode()),
        framed(_SID, message.sid),
        b"" if nli is None else framed(_NLI, nli.encode()),
    )


def _offer(message: Query | Response | Confirm) -> tuple[bytes, bytes]:
    proposal, configuration = message.stack_proposal, message.stack_configuration
    return (
        b"" if proposal is None else framed(_SP, proposal.encode()),
        b"" if configuration is None else framed(_SCD, configuration.encode()),
    )


def _payload(nslp_data: bytes | None) -> bytes:
    return b"" if nslp_data is None else framed(_NSLP, nslp_data)


def _whole(
    kind: MessageType,
    message: Message,
    parts: tuple[bytes, ...],
    *,
    nslp_id: int = 0,
    c: bool = False,
    r: bool = False,
    e: bool = False,
) -> bytes:
    body = b"".join(parts)
    s = message.source_is_signaller
    return encode_header(kind, len(body) >> 2, hops=message.hops, nslp_id=nslp_id, c=c, s=s, r=r, e=e) + body


_WRITERS: Final[dict[type[Message], Callable[[Any], bytes]]] = {
    Query: _write_query,
    Response: _write_response,
    Confirm: _write_confirm,
    Data: _write_data,
    Error: _write_error,
    MaHello: _write_ma_hello,
}
