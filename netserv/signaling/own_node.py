"""A signalling node for one program: any free port, nothing caught, no privileges. It asks, and is on no path."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Final

import msgspec
import trio

from netserv.signaling.driver import Driver, driving
from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.node import GistNode
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.profiles import IDENTITY_BYTES, Profile, gist_config, nslp_config
from netserv.signaling.transport.tls import without_certificate
from netserv.signaling.transport.topology import KernelTopology
from netserv.signaling.transport.udp import UdpPort

NAME: Final = "asker"
"Stands nowhere: an end host has no entry in a response."


@asynccontextmanager
async def own_node(profile: Profile = "netserv") -> AsyncIterator[Driver]:
    """Run such a node while the context lasts.

    Raises:
        SystemRefusedError: this machine gives no sockets.
    """
    rng = SystemRandom()
    nslp = NslpNode(config=nslp_config(profile), node_id=NAME, addresses=(), handler=None, rng=rng, unix_time=time.time)
    with KernelTopology() as topology, UdpPort(0) as port:
        gist = GistNode(
            config=msgspec.structs.replace(
                gist_config(profile),
                port=port.port,
                own_source=True,  # which is the flow's, whatever the profile
                router_alert=False,
                association_port=None,
                offer_secure=True,  # taken where the first node has it
            ),
            identity=rng.randbytes(IDENTITY_BYTES),
            topology=topology,
            applications={NSLP_NETSERV: nslp},
            rng=rng,
            now=trio.current_time(),
        )
        async with driving(gist, nslp, port, topology=topology, tls=without_certificate()) as driver:
            yield driver
