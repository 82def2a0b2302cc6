"""What `netserv-discovery find --toward` asks with: PROBE along a path, offered by an entry point.

The floor of discovery stands below this one and does not import it; `pyproject.toml` names `PROBER` in the group
`netserv_discovery.path`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netserv.errors import LocalProtocolError, NetservError
from netserv.signaling.asking import Signer, Way, probe
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.key_files import load_key
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.responses import StackEntry
from netserv_discovery.errors import LocalProtocolError as DiscoveryLocalError
from netserv_discovery.errors import UnreachableError
from netserv_discovery.path_io import PathNode


class Prober:
    """Asks by the signalling daemon of this machine, else by a node for the one request."""

    async def probe(
        self,
        host: str,
        *,
        items: tuple[str, ...],
        timeout_s: float,
        user: str | None = None,
        key: Path | None = None,
    ) -> Sequence[PathNode]:
        """As `netserv_discovery.path_io.PathProber` says."""
        try:
            signer = None if user is None or key is None else Signer(user, load_key(key))
            reply = await probe(host, items=items, signer=signer, way=Way(timeout_s=timeout_s))
        except LocalProtocolError as error:
            raise DiscoveryLocalError(str(error)) from error
        except (NetservError, NslpError) as error:
            raise UnreachableError(f"toward {host}: {error}") from error
        return [_path_node(entry) for entry in reply.response.nearest_first()]


PROBER: Final = Prober()


def _path_node(entry: StackEntry) -> PathNode:
    return PathNode(
        node_id=entry.node_id,
        address=address_text(entry.address),
        hops=entry.hops,
        code=entry.code,
        lines=dict(entry.lines),
    )
