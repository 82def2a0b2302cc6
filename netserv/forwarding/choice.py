"""Chooses how packets reach modules on this machine, and says why another way is not to be had."""

import logging

import trio

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.forwarding.base import PlaneConfig
from netserv.forwarding.plane import BrokerPlane

log = logging.getLogger(__name__)

PLANES = ("xdp", "netfilter")
"In the order of `auto`."


async def choose_plane(name: str = "auto", config: PlaneConfig | None = None) -> BrokerPlane:
    """The plane of this name; `auto` probes. It is to be entered by `async with`.

    Raises:
        LocalProtocolError: there is no such plane.
        SystemRefusedError: this machine gives none of them; the text has the reasons.
    """
    if name in PLANES:
        return BrokerPlane(name, config)
    if name != "auto":
        raise LocalProtocolError(f"there is no forwarding plane {name!r}: auto, {' or '.join(PLANES)}")
    refused: list[str] = []
    for each in PLANES:
        reason = await trio.to_thread.run_sync(why_not, each)
        if not reason:
            plane = BrokerPlane(each, config)
            plane.refused = tuple(refused)
            return plane
        log.info("no forwarding plane %s: %s", each, reason)
        refused.append(f"{each}: {reason}")
    raise SystemRefusedError(f"packets cannot be handed to modules; {'; '.join(refused)}")


def why_not(name: str) -> str:
    """Why this machine does not give a plane; empty where it does."""
    return "it is not built" if name == "xdp" else ""
