"""A node as z2z shows it to chosen sites: an item of DNS-SD in the envelope of z2z, signed with the node's key.

A z2z that imports under one of the keys of the policy registers the node on its link: it is found there as on its own.
Where sites share a secret of z2z, its cover hides key, name, value and writer, and is asked when items are read again.
"""

import hashlib
import re
from typing import Final

from mdht.signing import SigningKey
from netserv_discovery.errors import Refusal, RemoteProtocolError
from netserv_discovery.link_text import LABEL_MAX, SERVICE_TYPE, pack_txt, subtypes_of, txt_of
from netserv_discovery.record import NodeRecord, encode
from z2z.cover import PLAIN, Cover
from z2z.errors import Z2zError
from z2z.seal import Site, seal, site_id, unseal
from z2z.service_item import ServiceItem

_NO_LABEL: Final = re.compile(r"[^A-Za-z0-9-]")


def site_value(record: NodeRecord, key: SigningKey, *, seq: int, lease_s: int, cover: Cover = PLAIN) -> bytes:
    """Return what is put under each key of z2z.

    Args:
        record: what of the node is shown to sites; it fits (`split`), and has an address.
        key: the node's.
        seq: larger than in every earlier one.
        lease_s: lifetime in seconds.
        cover: what hides from the DHT what is in it.
    """
    addresses = sorted(record.ip_addresses, key=lambda each: (each.version, each.packed))
    item = ServiceItem(
        instance=record.node_id.encode(),
        service_type=SERVICE_TYPE,
        subtypes=subtypes_of(record),
        host=_NO_LABEL.sub("-", record.node_id)[:LABEL_MAX].encode(),
        port=record.gist_port,
        txt=pack_txt(txt_of(record, encode(record, key))),
        addresses=tuple(addresses),
    )
    # Named as the node and not as its operator: z2z remembers one key for each name.
    site = Site(id=site_id(key.public_key), name=record.node_id)
    return cover.close(seal(item, site=site, signer=key, seq=seq, lease_s=lease_s), key)


def site_name(record: NodeRecord, cover: Cover = PLAIN) -> bytes:
    """Sub-name in the DHT: 20 bytes, as those of z2z."""
    return cover.name(hashlib.sha1(b"netserv." + record.public_key, usedforsecurity=False).digest())


def site_item(value: bytes, writer: bytes, cover: Cover = PLAIN) -> ServiceItem | None:
    """Return the node in a value under a key of z2z; None if it is another service.

    Its record is in the TXT data and has a signature of its own (`link_text.record_of_txt`).

    Args:
        value: as it is stored.
        writer: public key that has written it.
        cover: by which it was exported.

    Raises:
        RemoteProtocolError: no site has exported that, or not under this secret, or somebody else has put it there.
    """
    try:
        uncovered = cover.open(value)
        opened = unseal(uncovered.envelope)
    except Z2zError as error:
        raise RemoteProtocolError(str(error)) from error
    if not cover.wrote(writer, opened.writer, uncovered.proof):
        raise RemoteProtocolError("put by somebody else than its site", code=Refusal.BAD_SIGNATURE)
    if opened.item.service_type != SERVICE_TYPE:
        return None
    if not opened.item.addresses:
        raise RemoteProtocolError("a node without an address")
    return opened.item
