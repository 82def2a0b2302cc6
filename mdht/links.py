"""The links of a host that is on several (mDHT design, section 13).

On each it is a host of that link's subnet, with membership, node and records of their own; nothing is forwarded from
one to another. Two interfaces of one link, as by cable and by radio, are two ways to the same host.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from dhtboot.ids import Address
from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError
from mdht.subnet.identity import Interface, Network

LINKS_MAX: Final = 16
"A host with more is a switch."
FURTHER_PORT: Final = 27186
"Wanted on the second link, and the next number on each further one: 27184 and 27185 have another use."


class LinkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What of a program's settings belongs to its host on one link."""

    interfaces: tuple[str, ...]
    "None where the host is on no link."
    port: int
    port_required: bool
    public: Address | None = None
    directory: str | None = None
    "Within the program's state directory; None for that itself."


def by_link(addresses: Mapping[str, Sequence[Interface]]) -> list[tuple[str, ...]]:
    """The interfaces that are on one link together, in the order in which they are first named.

    They are if they have a network in common: were these two links, the host could not know which of them an address
    is on. Link-local addresses tell nothing, as they are the same everywhere.

    Args:
        addresses: of each interface.
    """
    links: list[tuple[list[str], set[Network]]] = []
    for name, found in addresses.items():
        names, networks = [name], {one.network for one in found if _tells(one)}
        same = [link for link in links if link[1] & networks]
        for link in reversed(same):  # perhaps it shows that two of them are one
            names, networks = link[0] + names, networks | link[1]
        at = links.index(same[0]) if same else len(links)
        links = [link for link in links if link not in same]
        links.insert(at, (names, networks))
    return [tuple(names) for names, _networks in links]


def plans(config: MdhtConfig, links: Sequence[tuple[str, ...]]) -> list[LinkPlan]:
    """What each host of a program is to be; the first has the program's own port, public address and directory.

    Raises:
        LocalProtocolError: the settings fit one link only, or there are too many.
    """
    if len(links) > LINKS_MAX:
        raise LocalProtocolError(f"{len(links)} links, at most {LINKS_MAX} are possible; name fewer with --interface")
    if len(links) > 1 and config.subnet is not None:
        several = ", ".join("+".join(names) for names in links)
        raise LocalProtocolError(
            f"{config.subnet!r} can be the name of one subnet, and these are several links: {several}; "
            "name the interfaces of one link, or leave out the subnet's name"
        )
    first = LinkPlan(
        interfaces=links[0] if links else (),
        port=config.port,
        port_required=config.port_required,
        public=config.public,
    )
    return [
        first,
        *[
            LinkPlan(
                interfaces=names,
                port=FURTHER_PORT + number if config.port else 0,
                port_required=False,
                directory=f"link-{names[0]}",
            )
            for number, names in enumerate(links[1:])
        ],
    ]


def _tells(address: Interface) -> bool:
    """Whether an address is of a network that others can be on too."""
    return not address.is_link_local and address.network.prefixlen < address.max_prefixlen
