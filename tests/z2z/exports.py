"""Values that tests of exporter and importer share."""

from ipaddress import ip_address

from mdht.signing import SigningKey
from z2z.seal import Site, seal, site_id
from z2z.service_item import ServiceItem
from z2z.stores.base import StoredValue


def signer(seed: int = 1) -> SigningKey:
    return SigningKey.from_seed(bytes([seed]) * 32)


def site(seed: int = 1, name: str = "office") -> Site:
    return Site(id=site_id(signer(seed).public_key), name=name)


def item(instance: bytes = b"Tom's Music", *addresses: str, **changes) -> ServiceItem:
    fields = {"service_type": "_daap._tcp", "host": b"toms-mac", "port": 3689, "txt": b"\x09txtvers=1", **changes}
    return ServiceItem(
        instance=instance, addresses=tuple(ip_address(text) for text in addresses or ("198.51.100.7",)), **fields
    )


def stored(
    service: ServiceItem,
    *,
    seed: int = 1,
    name: bytes = b"",
    seq: int = 1,
    remaining_s: float = 300.0,
    site_name="office",
) -> StoredValue:
    value = seal(service, site=site(seed, site_name), signer=signer(seed), seq=seq, lease_s=300)
    return StoredValue(
        writer=signer(seed).public_key,
        name=name or service.service_type.encode() + service.instance[:40],
        value=value,
        remaining_s=remaining_s,
    )
