"""Which services may be exported at all, apart from their addresses."""

from typing import Final

import msgspec

from z2z.address_map import NO_MAP, AddressMap
from z2z.addresses import Scope, classify, exportable
from z2z.errors import LocalProtocolError
from z2z.keys import normalise
from z2z.policy_rules import NO_RULES, Rules
from z2z.proxy import is_import_host
from z2z.service_item import ServiceItem

SENSITIVE_TYPES: Final = {
    "_ssh._tcp": "remote login",
    "_companion-link._tcp": "control of Apple devices",
    "_rdlink._tcp": "control of Apple devices",
    "_hap._tcp": "control of a home",
    "_hap._udp": "control of a home",
    "_homekit._tcp": "control of a home",
}
"Types whose services were never meant for strangers; the value completes `it is for ...`."
OPT_OUT_KEY: Final = b"z2z"


class NotExportedError(LocalProtocolError):
    """This service stays on its link; the text is the reason."""

    def __init__(self, reason: str, *, expected: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected
        "Every set-up with imports has such services: of interest only to who asks for details."


def sensitive_reason(service_type: str) -> str | None:
    """Return why a type is not exported without being asked for twice, or None."""
    purpose = SENSITIVE_TYPES.get(service_type)
    if purpose is None:
        return None
    return f"{service_type} is for {purpose}: everybody who knows a key would see it; pass --force-type if you mean it"


def opted_out(txt: bytes) -> bool:
    """Say whether the device asks not to be exported: `z2z=no` in its TXT (RFC 6763 section 6.4)."""
    at = 0
    while at < len(txt):
        text = txt[at + 1 : at + 1 + txt[at]]
        at += 1 + txt[at]
        key, _, value = text.partition(b"=")
        if key.lower() == OPT_OUT_KEY:
            return value.lower() == b"no"  # the first of several counts
    return False


class Exportable(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it leaves its link."""

    item: ServiceItem
    lost: tuple[str, ...]
    "Addresses that it lost, with the reason."
    allowed_by: str = ""
    "What of the administrator's policy lets it pass."


def check_exportable(
    item: ServiceItem,
    *,
    allow_private: bool,
    force_type: bool,
    addresses: AddressMap = NO_MAP,
    rules: Rules = NO_RULES,
) -> Exportable:
    """Return an item as it may be exported, with the addresses at which others reach it.

    Raises:
        NotExportedError: the item is not exported; the text says why and what would change it.
    """
    if is_import_host(item.host):
        raise NotExportedError("it is itself an import", expected=True)
    ruling = rules.judge_export(item)
    if not ruling.allowed:
        raise NotExportedError(ruling.by)
    sensitive = sensitive_reason(item.service_type)
    if sensitive is not None and not force_type:
        raise NotExportedError(sensitive)
    if opted_out(item.txt):
        raise NotExportedError("its TXT asks for that (z2z=no)")
    there = addresses.apply(item)
    fit = exportable(there.item.addresses, allow_private=allow_private)
    kept = tuple(address for address in there.item.addresses if address in there.mapped or address in fit)
    lost = [f"{address} is {classify(address).value}" for address in there.item.addresses if address not in kept]
    lost += there.lost
    if not kept:
        raise NotExportedError((", ".join(lost) or "it has no address") + _remedy(item))
    return Exportable(item=msgspec.structs.replace(there.item, addresses=kept), lost=tuple(lost), allowed_by=ruling.by)


def _remedy(item: ServiceItem) -> str:
    private = [address for address in item.addresses if classify(address) is Scope.PRIVATE]
    if not private:
        return ""
    return f"; pass --allow-private to export it all the same, or --map {private[0]}=PUBLIC if a router passes it on"


def usable_keys(item: ServiceItem, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys to export an item under, as typed: the given ones, then its instance name (thesis 4.3.1).

    Raises:
        NotExportedError: there is no given key and the instance name has no letter and no digit.
    """
    found: dict[str, str] = {}
    for key in (*keys, item.display_name):
        try:
            found.setdefault(normalise(key), key)
        except LocalProtocolError:
            continue
    if not found:
        raise NotExportedError("its name has no letter and no digit to be found by; give it a --key")
    return tuple(found.values())
