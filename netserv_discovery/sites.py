"""A node as z2z shows it to chosen sites: an item of DNS-SD in the envelope of z2z, signed with the node's key.

A z2z that imports under one of the keys of the policy registers the node on its link: it is found there as on its own.
"""

import hashlib
import re
from typing import Final

from mdht.signing import SigningKey
from netserv_discovery.link_text import LABEL_MAX, SERVICE_TYPE, pack_txt, subtypes_of, txt_of
from netserv_discovery.record import NodeRecord, encode
from z2z.seal import Site, seal, site_id
from z2z.service_item import ServiceItem

_NO_LABEL: Final = re.compile(r"[^A-Za-z0-9-]")


def site_value(record: NodeRecord, key: SigningKey, *, seq: int, lease_s: int) -> bytes:
    """Return what is put under each key of z2z.

    Args:
        record: what of the node is shown to sites; it fits (`split`), and has an address.
        key: the node's.
        seq: larger than in every earlier one.
        lease_s: lifetime in seconds.
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
    return seal(item, site=site, signer=key, seq=seq, lease_s=lease_s)


def site_name(record: NodeRecord) -> bytes:
    """Sub-name in the DHT: 20 bytes, as those of z2z."""
    return hashlib.sha1(b"netserv." + record.public_key, usedforsecurity=False).digest()
