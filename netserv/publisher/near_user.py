"""The node nearest to a user that has what a module needs, found along the path to him."""

from pathlib import Path

from netserv.discovery_path import PROBER
from netserv.errors import UnreachableError
from netserv.modules.blocks import BLOCKS
from netserv.modules.manifest import Manifest
from netserv_discovery.errors import DiscoveryError
from netserv_discovery.path_find import find_on_path, fitting
from netserv_discovery.versions import parse_need
from netserv_discovery.want import Wanted


async def near_user(host: str, manifest: Manifest, *, user: str, key: Path, timeout_s: float) -> str:
    """Name of that node: the last one on the path to the user that has the blocks.

    Args:
        host: name or address of the user's machine.
        manifest: of the module; what it requires of other modules is for the node to say.
        user: publisher in whose name nodes are asked.
        key: file of his key.
        timeout_s: for their answer.

    Raises:
        UnreachableError: nobody is on the path, or nobody there has the blocks.
    """
    needs = tuple(str(need) for need in manifest.dependencies if need.name in BLOCKS or "." not in need.name)
    try:
        nodes = await find_on_path(PROBER, host, finder=None, timeout_s=timeout_s, user=user, key=key)
        wanted = Wanted(blocks=tuple(map(parse_need, needs))) if needs else None
    except DiscoveryError as error:
        raise UnreachableError(f"no node near {host}: {error}") from error
    fit = [each for each in fitting(nodes, wanted) if each.node.code < 300]
    if not fit:
        raise UnreachableError(
            f"none of {len(nodes)} nodes on the path to {host} has {', '.join(needs) or 'room'}: "
            f"ask them, netserv probe --toward {host} --what blocks"
        )
    return fit[-1].node.node_id
