"""What came of asking the router for a port, for its user."""

from typing import Final

from dhtboot.ids import format_address
from mdht.ports.effects import Cause, Lack, Protocol

_REASONS: Final = {
    "NOT_AUTHORIZED": "its settings forbid it, or the port is another program's, or was this one's under another name",
    "ADDRESS_MISMATCH": "there is another router between it and this host",
    "USER_EX_QUOTA": "this host has as many ports as it may have",
    "NO_RESOURCES": "it has no more ports",
    "NETWORK_FAILURE": "it is not connected to the internet",
    "CANNOT_PROVIDE_EXTERNAL": "the port is in use",
}


def lack_text(lack: Lack, gateway: str) -> str:
    """Why no port is forwarded, and the remedy.

    Args:
        lack: what is known.
        gateway: address of the router; empty where there is none.
    """
    match lack.cause:
        case Cause.STARTING:
            return f"router {gateway} is being asked" if gateway else "the router is being looked for"
        case Cause.NO_GATEWAY:
            return "there is no router: the link has no IPv4 default route"
        case Cause.SILENT:
            return (
                f"router {gateway} answers neither {_tried(lack)}; "
                "switch one of them on in its settings, or forward the port by hand and name it with --public"
                + (f" ({lack.detail})" if lack.detail else "")
            )
        case Cause.REFUSED:
            by = "" if lack.protocol is None else f" by {lack.protocol.value}"
            reason = _REASONS.get(lack.detail)
            return f"router {gateway} refuses{by}: {lack.detail}" + (f"; {reason}" if reason else "")
        case Cause.TRANSLATED:
            outside = "" if lack.outside is None else format_address(lack.outside)
            return (
                f"router {gateway} is itself behind a router that translates addresses: its port would be {outside}, "
                "which is not of the internet; ask the carrier for a public address"
            )
        case Cause.ENDED:
            return "the port was given back"


def _tried(lack: Lack) -> str:
    tried = [each.value for each in Protocol if each is not Protocol.UPNP or not lack.detail]
    return " nor ".join(tried)
