"""Chooses how packets reach modules on this machine, and says why another way is not to be had."""

import logging
import os
import socket
from typing import Final

import trio

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.forwarding import bpf, compiled, xdp_program, xdp_stack
from netserv.forwarding.base import PLANE_NAMES, PLANES, XDP_STACK, PlaneConfig
from netserv.forwarding.plane import BrokerPlane
from netserv.forwarding.xdp import Tables, interfaces

log = logging.getLogger(__name__)

_AF_XDP: Final = 44


async def choose_plane(name: str = "auto", config: PlaneConfig | None = None) -> BrokerPlane:
    """The plane of this name; `auto` probes. It is to be entered by `async with`.

    Raises:
        LocalProtocolError: there is no such plane.
        SystemRefusedError: this machine gives none of them; the text has the reasons.
    """
    if name in PLANE_NAMES:
        return BrokerPlane(name, config)
    if name != "auto":
        *names, last = PLANE_NAMES
        raise LocalProtocolError(f"there is no forwarding plane {name!r}: auto, {', '.join(names)} or {last}")
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
    """Why this machine does not give a plane; empty where it does, as far as can be told without attaching anything."""
    if name == "netfilter":
        return ""
    if not compiled.BUILT:
        return "it needs the compiled part of this package, which was installed without a C compiler"
    stack = name == XDP_STACK
    try:
        tables = Tables(stack=stack)
    except SystemRefusedError as error:
        return f"{error}; run as root, or with the capabilities CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW"
    try:
        os.close(bpf.load_xdp(xdp_program.main_program(tables.maps, bytes(6), 0, stack=stack)))
        if tables.outbox is not None:
            os.close(bpf.load_classifier(xdp_stack.stack_program(tables.outbox)))
        with socket.socket(_AF_XDP, socket.SOCK_RAW):
            pass
        interfaces(())
    except SystemRefusedError as error:
        return str(error)
    except OSError as error:
        return f"the kernel gives no sockets of AF_XDP (CONFIG_XDP_SOCKETS): {error.strerror}"
    finally:
        tables.close()
    return ""
