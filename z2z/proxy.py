"""How an import looks on the link: its host name, its instance name, its lifetime (thesis 4.3.2.2).

The thesis names the host `_remote-160.39.243.99.local`, which DNS reads as five labels; here the address becomes one.
"""

import re
from collections.abc import Iterator
from typing import Final

from z2z.addresses import Address
from z2z.mdns.messages import IMPORT_HOST_PREFIX
from z2z.seal import Site
from z2z.service_item import LABEL_MAX

TTL_MIN_S: Final = 30
"When an importer dies without a goodbye, clients forget its services within this time."
TTL_MAX_S: Final = 120
"RFC 6762 section 10 wants 120 s for records that hold a host name; never more than that here."
IMPORTS_PER_TTL_STEP: Final = 100
"Up to so many imports keep the shortest lifetime; more stretch it, since every browsing client asks once a lifetime."
NAMES_MAX: Final = 9
"Names tried for one import: its own, `Name (site)`, then numbered ones. More namesakes would only confuse people."
_NOT_IN_HOST: Final = re.compile(r"[^a-z0-9]+")


def is_import_host(host: bytes) -> bool:
    """Say whether a host label is one that importers give."""
    return host.lower().startswith(IMPORT_HOST_PREFIX)


def host_label(address: Address, site: Site, attempt: int = 0) -> bytes:
    """Return the host label of an import, `z2z-198-51-100-7-office`.

    It names the origin's address and site, never the origin's host name: a local host of that name would have to
    rename itself.

    Args:
        address: the first address of the item.
        site: where the item comes from.
        attempt: 0 at first; 1, 2 ... after another host claimed the label.
    """
    numbers = str(address).replace(".", "-").replace(":", "-")
    tail = f"-{attempt + 1}" if attempt else ""
    head = f"{IMPORT_HOST_PREFIX.decode()}{numbers}-"
    place = _NOT_IN_HOST.sub("-", site.name.lower()).strip("-") or site.id.hex()
    return (head + place[: LABEL_MAX - len(head) - len(tail)].rstrip("-") + tail).encode()


def instance_names(instance: bytes, site_name: str) -> Iterator[bytes]:
    """Yield the instance labels to try, best first; each has at most 63 bytes and stays valid UTF-8."""
    yield instance
    for number in range(1, NAMES_MAX):
        suffix = f" ({site_name})" if number == 1 else f" ({site_name} {number})"
        yield _joined(instance, suffix.encode())


def ttl_s(remaining_s: float, imports: int) -> int:
    """Return the lifetime of an import's records.

    Args:
        remaining_s: seconds until the store forgets the item.
        imports: services that this importer publishes on the link.
    """
    wanted = TTL_MIN_S * max(1.0, imports / IMPORTS_PER_TTL_STEP)
    return int(max(TTL_MIN_S, min(wanted, remaining_s, TTL_MAX_S)))


def _joined(instance: bytes, suffix: bytes) -> bytes:
    """Join both within one label; a cut never leaves half a character, which would not be UTF-8."""
    suffix = _cut(suffix, LABEL_MAX // 2)
    return _cut(instance, LABEL_MAX - len(suffix)) + suffix


def _cut(text: bytes, size: int) -> bytes:
    return text[:size].decode(errors="ignore").encode()
