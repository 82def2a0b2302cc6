"""Interfaces and addresses of this host."""

import logging
from collections.abc import Iterable
from typing import Final

from mdht import netifaces_io
from mdht.errors import LocalProtocolError as MdhtLocalError
from z2z.addresses import Interface
from z2z.errors import LinkError

log = logging.getLogger(__name__)

LOOPBACK: Final = "lo"


def default_interface() -> str:
    """Return the interface to use when none is named.

    Raises:
        LinkError: this machine has none.
    """
    try:
        return netifaces_io.default_interface()
    except MdhtLocalError as error:
        raise LinkError(str(error)) from error


def own_prefixes(shown_on: str) -> Iterable[Interface]:
    """Return the addresses of this host, with prefixes, at which an import would lead to a stranger.

    Clients on a link reach the prefix of that link directly; those of this host's other links they reach through
    routers, as this host may be one. Programs of this machine reach all of its links directly.

    Args:
        shown_on: the interface on which imports are shown.
    """
    found: list[Interface] = []
    for name in netifaces_io.interfaces() if shown_on == LOOPBACK else (shown_on,):
        try:
            found += netifaces_io.interface_addresses(name)
        except MdhtLocalError as error:  # it went while we looked
            log.debug("%s", error)
    return [each for each in found if not each.ip.is_loopback]
