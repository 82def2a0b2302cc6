"""Signed envelopes as a faulty or hostile program could make them, past `ServiceItem` and the encoder."""

from ipaddress import ip_address
from typing import Final

import msgspec

from mdht.signing import SigningKey
from z2z import seal
from z2z.dns_records import encode_item
from z2z.service_item import ServiceItem
from z2z.stream import StreamEvent, encode_line

SERVICE_TYPE: Final = "_limits._tcp"


def item(**changes: object) -> bytes:
    """Return the DNS message of an item some of whose fields break the rules."""
    address = ip_address("198.51.100.9")
    made = ServiceItem(instance=b"y" * 63, service_type=SERVICE_TYPE, host=b"h", port=80, addresses=(address,))
    for field, value in changes.items():
        msgspec.structs.force_setattr(made, field, value)
    return encode_item(made)


def envelope(data: bytes, signer: SigningKey) -> bytes:
    """Return an envelope of any bytes, signed as it should be."""
    bare = seal._Envelope(
        version=seal.VERSION,
        site_id=seal.site_id(signer.public_key),
        site_name="far",
        writer=signer.public_key,
        seq=1,
        lease_s=300,
        hops=(seal.site_id(signer.public_key),),
        item=data,
        signature=b"",
    )
    return msgspec.msgpack.encode(msgspec.structs.replace(bare, signature=signer.sign(seal._signed_bytes(bare))))


def damaged(value: bytes) -> bytes:
    """Return an envelope whose signature, its last field, was changed."""
    return value[:-1] + bytes([value[-1] ^ 1])


def beyond_the_limits(signer: SigningKey) -> dict[str, bytes]:
    """Return a value for each limit that it breaks."""
    label = item().replace(b"\x3f" + b"y" * 63, b"\x40" + b"y" * 64, 1)
    string = b"\xff" + b"x" * 255
    huge = item(txt=string * 44).replace(b"\x2c\x00" + string * 44, b"\x50\x00" + string * 80, 1)
    return {
        "a label of 64 bytes": envelope(label, signer),
        "port 0": envelope(item(port=0), signer),
        "11 KiB of TXT": envelope(item(txt=string * 44), signer),
        "20 KiB of TXT": envelope(huge, signer),
        "a control character": envelope(item(instance=b"bell\x07"), signer),
        "no item at all": envelope(b"", signer),
        "no envelope at all": b"\x93\x01\x02\x03",
        "a forged signature": damaged(envelope(item(), signer)),
    }


def line(value: bytes, name: bytes, signer: SigningKey) -> bytes:
    """Return the line of a stream that shows this value."""
    return encode_line(
        StreamEvent(event="+", key=bytes(20), writer=signer.public_key, name=name, lease_s=300.0, value=value)
    )
