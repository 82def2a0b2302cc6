"""Lines of the stream store: service items as JSON, one event a line (thesis ExporterToStream, StreamToImporter).

`+` says that a value is there, `~` that it changed or still lives, `-` that it is gone. The value travels as signed
bytes; what stands beside it in plain text is for people who read the file and is not read back.
"""

import base64
from typing import Annotated, Final, Literal

import msgspec

from z2z.errors import RemoteProtocolError
from z2z.reports import endpoints
from z2z.seal import ENVELOPE_MAX, LEASE_MAX_S, unseal

LINE_MAX: Final = 64 * 1024
"Bytes of a line: the largest value in base64 and in plain text, twice over."


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    event: Literal["+", "~", "-"]
    key: Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
    writer: Annotated[bytes, msgspec.Meta(max_length=32)]
    name: Annotated[bytes, msgspec.Meta(max_length=64)]
    lease_s: Annotated[float, msgspec.Meta(ge=0, le=LEASE_MAX_S)] = 0.0
    value: bytes = b""


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON object; binary fields as text, since base64 of a key reads worse than hex."""

    event: Literal["+", "~", "-"]
    key: str
    writer: str
    name: str
    lease_s: Annotated[float, msgspec.Meta(ge=0, le=LEASE_MAX_S)] = 0.0
    value: str = ""
    service: str = ""
    service_type: str = ""
    where: tuple[str, ...] = ()
    site: str = ""


def encode_line(event: StreamEvent) -> bytes:
    """Return the line of an event, with its newline."""
    line = _Line(
        event=event.event,
        key=event.key.hex(),
        writer=event.writer.hex(),
        name=event.name.hex(),
        lease_s=event.lease_s,
        value=base64.b64encode(event.value).decode(),
    )
    return msgspec.json.encode(_readable(line, event.value)) + b"\n"


def decode_line(data: bytes) -> StreamEvent:
    """Return the event of a line.

    Raises:
        RemoteProtocolError: the line is no JSON or no event of this form.
    """
    if len(data) > LINE_MAX:
        raise RemoteProtocolError(f"a line of more than {LINE_MAX} bytes")
    try:
        line = msgspec.json.decode(data, type=_Line)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(f"not a z2z event: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"not JSON: {error}") from error
    try:
        fields = {
            "event": line.event,
            "key": bytes.fromhex(line.key),
            "writer": bytes.fromhex(line.writer),
            "name": bytes.fromhex(line.name),
            "lease_s": line.lease_s,
            "value": base64.b64decode(line.value, validate=True),
        }
        event = msgspec.convert(fields, StreamEvent)
    except (msgspec.ValidationError, ValueError) as error:
        raise RemoteProtocolError(f"not a z2z event: {error}") from error
    if len(event.value) > ENVELOPE_MAX or (event.event == "-") != (not event.value):
        raise RemoteProtocolError(f"not a z2z event: {event.event!r} with a value of {len(event.value)} bytes")
    return event


def _readable(line: _Line, value: bytes) -> _Line:
    """Add what people read of a value."""
    try:
        opened = unseal(value)
    except RemoteProtocolError:
        return line
    return msgspec.structs.replace(
        line,
        service=opened.item.display_name,
        service_type=opened.item.service_type,
        where=endpoints(opened.item),
        site=opened.site.name,
    )
