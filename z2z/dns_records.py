"""A `ServiceItem` as one DNS message, the form in which stores carry it (design, section 2)."""

from typing import Final

from z2z.errors import RemoteProtocolError
from z2z.mdns.messages import (
    Address4,
    Address6,
    Data,
    MdnsMessage,
    Name,
    Ptr,
    Record,
    Srv,
    Txt,
    address_data,
    instance_name,
    subtype_name,
    type_name,
)
from z2z.mdns.wire import Decoder, Encoder
from z2z.service_item import ServiceItem

ITEM_MAX: Final = 16_384
"Bytes of an encoded item: what a store carries at most (design, section 2)."
ITEM_TTL_S: Final = 120
"Lifetime written into items; the envelope's lease rules, so it only has to be the same for everybody."


def encode_item(item: ServiceItem) -> bytes:
    """Return an item as one DNS message: PTR, subtype PTRs, SRV, TXT, A and AAAA, in this order."""
    message = MdnsMessage(is_response=True, answers=_item_records(item))
    # One part always: the limits of `ServiceItem` (TXT, subtypes, addresses) add up to less than 13,000 bytes.
    (encoded,) = Encoder(message, ITEM_MAX, ITEM_MAX).parts()
    return encoded


def decode_item(data: bytes) -> ServiceItem:
    """Return the item that `encode_item` wrote.

    Raises:
        RemoteProtocolError: the bytes are anything else.
    """
    if len(data) > ITEM_MAX:
        raise RemoteProtocolError(f"service item of {len(data)} bytes; at most {ITEM_MAX} are carried")
    decoder = Decoder(data)
    message = decoder.message()
    if decoder.at != len(data) or message != MdnsMessage(is_response=True, answers=message.answers):
        raise RemoteProtocolError("a service item is one DNS response with answers only")
    item = _item_of(message.answers)
    if _item_records(item) != message.answers:
        raise RemoteProtocolError("a record of a service item is out of place")
    return item


def _item_records(item: ServiceItem) -> tuple[Record, ...]:
    name = instance_name(item.instance, item.service_type)
    host = (item.host, b"local")
    owners = [type_name(item.service_type), *(subtype_name(label, item.service_type) for label in item.subtypes)]
    pairs: list[tuple[Name, Data]] = [(owner, Ptr(name)) for owner in owners]
    pairs += [(name, Srv(item.priority, item.weight, item.port, host)), (name, Txt(item.txt))]
    pairs += [(host, address_data(address)) for address in item.addresses]
    return tuple(Record(name=owner, data=data, ttl_s=ITEM_TTL_S) for owner, data in pairs)


def _item_of(records: tuple[Record, ...]) -> ServiceItem:
    """Read an item from records without looking at their order; the caller compares with what it would write."""
    pointers = [record.name for record in records if isinstance(record.data, Ptr)]
    services = [(record.name, record.data) for record in records if isinstance(record.data, Srv)]
    texts = [record.data.data for record in records if isinstance(record.data, Txt)]
    addresses = [record.data.address for record in records if isinstance(record.data, Address4 | Address6)]
    if not pointers or len(services) != 1 or len(texts) != 1:
        raise RemoteProtocolError("a service item has pointers, one SRV and one TXT record")
    name, srv = services[0]
    if len(name) != 4 or not srv.target or not all(pointers):
        raise RemoteProtocolError("a service item names an instance, its types and its host")
    try:
        service_type = b".".join(name[1:3]).decode()
        subtypes = tuple(owner[0].decode() for owner in pointers[1:])
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("a type or subtype of a service item is not UTF-8") from error
    return ServiceItem(
        instance=name[0],
        service_type=service_type,
        subtypes=subtypes,
        host=srv.target[0],
        port=srv.port,
        priority=srv.priority,
        weight=srv.weight,
        txt=texts[0],
        addresses=tuple(addresses),
    )
