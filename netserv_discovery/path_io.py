"""Asking the nodes along a path to a host, which whoever can signal along paths offers by an entry point.

This floor stands below signalling and must not import it: what signals registers itself in the group `GROUP` (as
`netserv` does), and is asked through the protocol here.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

import msgspec

from netserv_discovery.errors import LocalProtocolError

GROUP: Final = "netserv_discovery.path"
"Of entry points."
ITEMS: Final = ("status", "blocks", "modules", "load")
"What a search asks the nodes on the way."


class PathNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node on the path, as it answers."""

    node_id: str
    address: str
    "Towards the asker."
    hops: int
    "IP hops from the one before it, or from the asker."
    code: int
    "As in HTTP: 200 where the node tells what it was asked."
    lines: dict[str, str] = {}
    "What it tells, by item: `blocks` is `NAME_VERSION` with commas."


class PathProber(Protocol):
    """Asks along paths."""

    async def probe(
        self,
        host: str,
        *,
        items: tuple[str, ...],
        timeout_s: float,
        user: str | None = None,
        key: Path | None = None,
    ) -> Sequence[PathNode]:
        """Return the nodes on the path to a host, the nearest first.

        Args:
            host: name or address.
            items: what they are asked.
            timeout_s: for the whole answer.
            user: publisher in whose name it is asked; None: nobody's, which nodes may refuse.
            key: file of the publisher's key.

        Raises:
            DiscoveryError: nobody is on the path, or no answer came in time.
        """
        ...


def path_prober() -> PathProber:
    """The one that is installed.

    Raises:
        LocalProtocolError: none is, or it cannot be loaded.
    """
    for entry in entry_points(group=GROUP):
        try:
            prober: PathProber = entry.load()
        except (ImportError, AttributeError) as error:
            raise LocalProtocolError(f"what signals along paths ({entry.value}) cannot be loaded: {error}") from error
        return prober
    raise LocalProtocolError(
        f"nothing here can ask along a path: no distribution has an entry point {GROUP}; install netserv"
    )
