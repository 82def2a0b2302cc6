"""A node as DNS-SD shows it on a link: TXT data that people read, with the signed record for programs (RFC 6763).

`id`, `blocks` and so on are for `avahi-browse`; nothing is believed but the record, in base64 in `rec0`, `rec1` ...
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final

from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.record import RECORD_MAX, NodeRecord, decode
from netserv_discovery.versions import Offer, folded

SERVICE_TYPE: Final = "_netserv._udp"
STRING_MAX: Final = 255
"Bytes of one string of TXT data (RFC 1035 section 3.3.14)."
SUBTYPES_MAX: Final = 32
"Each is one more PTR record in every announcement, and what an item of z2z may have."
LABEL_MAX: Final = 63
_SHOWN_MAX: Final = 120
"Bytes of a list that people read: with the record all fits a packet of 1,472 bytes."
_PART_MAX: Final = 240
_TXT_MAX: Final = 8_800
_STRINGS_MAX: Final = 64


def txt_of(record: NodeRecord, data: bytes) -> tuple[bytes, ...]:
    """Return the strings of a node's TXT data.

    Args:
        record: what of the node is shown on the link.
        data: the same, encoded and signed.
    """
    pairs = [
        ("txtvers", "1"),
        ("id", record.node_id),
        ("blocks", _listed(record.blocks)),
        ("modules", _listed(record.modules)),
        ("load", str(record.load)),
        ("loc", "" if record.location is None else str(record.location)),
        ("op", record.operator),
        ("ping", str(record.ping_port or "")),
    ]
    text = base64.b64encode(data).decode()
    parts = [text[at : at + _PART_MAX] for at in range(0, len(text), _PART_MAX)]
    pairs += [(f"rec{number}", part) for number, part in enumerate(parts)]
    return tuple(f"{name}={value}".encode() for name, value in pairs if value)


def record_of_txt(strings: Iterable[bytes], unix_now: float) -> NodeRecord:
    """Return the record in TXT data, its signature verified.

    Args:
        strings: of the TXT data.
        unix_now: seconds.

    Raises:
        RemoteProtocolError: there is none that counts.
    """
    return decode(record_data(strings), unix_now)


def record_data(strings: Iterable[bytes]) -> bytes:
    """Return the bytes of the record in TXT data, whatever they are.

    Raises:
        RemoteProtocolError: there are none.
    """
    pairs = dict(string.partition(b"=")[::2] for string in strings)
    parts: list[bytes] = []
    while (part := pairs.get(b"rec%d" % len(parts))) is not None:
        parts.append(part)
    text = b"".join(parts)
    if len(text) > 2 * RECORD_MAX:
        raise RemoteProtocolError(f"a record of {len(text)} letters of base64", code=Refusal.TOO_LONG)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError(f"TXT data with a record that is no base64: {error}") from error
    if not data:
        raise RemoteProtocolError("TXT data without a record")
    return data


def pack_txt(strings: Sequence[bytes]) -> bytes:
    """Return the strings as RDATA.

    Raises:
        LocalProtocolError: one is too long.
    """
    if any(len(string) > STRING_MAX for string in strings):
        raise LocalProtocolError(f"a string of TXT data has at most {STRING_MAX} bytes")
    return b"".join(bytes((len(string),)) + string for string in strings) or b"\0"


def unpack_txt(data: bytes) -> tuple[bytes, ...]:
    """Return the strings of RDATA.

    Raises:
        RemoteProtocolError: it ends inside of one, or has too many.
    """
    strings: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data) or len(data) > _TXT_MAX or len(strings) == _STRINGS_MAX:
            raise RemoteProtocolError("TXT data that is cut short, or too long")
        strings.append(data[at + 1 : end])
        at = end
    return tuple(strings)


def subtype(name: str) -> str:
    """The label of the subtype by which nodes that offer a block are browsed: `_ffmpeg`.

    Dots become hyphens, as programs take them for the end of a label.
    """
    return f"_{folded(name).replace('.', '-')}"[:LABEL_MAX].rstrip("-")


def subtypes_of(record: NodeRecord) -> tuple[str, ...]:
    """Subtypes of a node, one for each of its blocks, sorted."""
    names = dict.fromkeys(subtype(block.name) for block in record.blocks)
    return tuple(sorted([*names][:SUBTYPES_MAX]))


def _listed(offers: tuple[Offer, ...]) -> str:
    """`ffmpeg-6.1,http-1.0`, and dots if that is not all."""
    text = ",".join(f"{offer.name}-{offer.version}" for offer in offers)
    if len(text) <= _SHOWN_MAX:
        return text
    return f"{text[: _SHOWN_MAX - 4].rpartition(',')[0]},..."
