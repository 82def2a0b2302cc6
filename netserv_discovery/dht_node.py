"""A node of the DHT of our own, for a program that finds none running. Imported when it is needed: that takes long.

The only file of this package that imports `mdht.node`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import MdhtError
from mdht.link_keys import read_keys
from mdht.node import Mdht, MdhtConfig, open_mdht
from mdht.signing import SigningKey
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import LocalProtocolError, UnreachableError

log = logging.getLogger(__name__)

JOIN_S: Final = 4.0
"Seconds in which it looks for others; peers on the link answer within one (as `mdht` waits)."
GLANCE_S: Final = 0.02
"Between looks at a node that is about to join."


@asynccontextmanager
async def open_own_node(settings: DhtSettings, writer: SigningKey, *, wait: bool) -> AsyncIterator[Mdht]:
    """Be in the DHT while the context lasts.

    Args:
        settings: in which, and how.
        writer: signs what is written.
        wait: until others are known, or `JOIN_S` are over; else it joins meanwhile.

    Raises:
        DiscoveryError: the settings cannot be used here.
    """
    async with AsyncExitStack() as stack:
        try:
            node = await stack.enter_async_context(open_mdht(_config(settings), writer))
        except MdhtLocalError as error:
            raise LocalProtocolError(str(error)) from error
        except MdhtError as error:
            raise UnreachableError(str(error)) from error
        if wait:
            with trio.move_on_after(JOIN_S):
                await _joined(node)
            if not is_joined(node):
                log.warning("no other node of the DHT was found; start one with `mdht run`, or name one: --bootstrap")
        yield node


class OwnNode:
    """Puts through a node that is about to end."""

    def __init__(self, node: Mdht) -> None:
        self._node = node

    async def put_elsewhere(self, key: bytes, name: bytes, value: bytes, lease_s: int) -> int:
        """Write a record; how many others have it.

        Raises:
            UnreachableError: no other has.
        """
        node = self._node
        receipt = await node.put(key, value, ttl_s=lease_s, name=name, acks=MdhtConfig().keeping.replicas)
        others = receipt.stored
        if receipt.stored and not node.status().members:
            others -= "here" in (await node.explain(key)).holders
        if not others:
            raise UnreachableError(
                "no other node of the DHT was reached, so it would vanish with this one; start one with `mdht run`, or "
                "name one with --bootstrap"
            )
        return others


def is_joined(node: Mdht) -> bool:
    """Whether a node has met others."""
    status = node.status()
    return status.phase == "joined" and bool(status.contacts or status.members)


async def _joined(node: Mdht) -> None:
    while not is_joined(node):  # noqa: ASYNC110 - the node has no event for it
        await trio.sleep(GLANCE_S)


def _config(settings: DhtSettings) -> MdhtConfig:
    try:
        keys = () if settings.key_file is None else read_keys(settings.key_file, settings.network)
        return MdhtConfig(
            network=settings.network,
            port=settings.port or 0,
            port_required=settings.port is not None,
            bootstrap=settings.bootstrap,
            interfaces=settings.interfaces,
            presence=settings.presence,
            keys=keys,
            host_keys=settings.host_keys,
            allow_private=settings.allow_private,
        )
    except MdhtLocalError as error:
        raise LocalProtocolError(str(error)) from error
