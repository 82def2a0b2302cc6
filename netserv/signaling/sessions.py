"""Several requests along one path in one GIST session, so that the path is looked for once and then kept.

async with session("server.example.org", signer) as path:
    while True:
        reply = await path.ask(setup)
        await trio.sleep(setup.ttl_s / 2)
"""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import trio

from netserv.signaling.asking import Reply, Signer, Way, flow_to, prepared
from netserv.signaling.control_client import ControlClient, NoDaemonError
from netserv.signaling.control_messages import Ask
from netserv.signaling.driver import Driver
from netserv.signaling.nslp import responses
from netserv.signaling.nslp.requests import Probe, Remove, Setup, encode
from netserv.signaling.nslp.values import Flow
from netserv.signaling.own_node import own_node
from netserv.signaling.profiles import Profile

log = logging.getLogger(__name__)

SID_BYTES: Final = 16
_WAY: Final = Way()


class Session:
    """A way that is kept; made by `session`.

    Args:
        flow: along which its requests go.
        signer: of them.
        way: how they travel.
        send: that does it.
    """

    def __init__(self, flow: Flow, signer: Signer | None, way: Way, send: Callable[[Ask], Awaitable[Reply]]) -> None:
        self.flow, self.sid = flow, secrets.token_bytes(SID_BYTES)
        self._signer, self._way, self._send = signer, way, send

    async def ask(self, request: Setup | Remove | Probe) -> Reply:
        """Send a request, and wait for what the nodes on the path say. Each is made anew: nonce, expiry, signature.

        Raises:
            NetservError: nobody is on the path, or no answer came in time.
        """
        lasting = msgspec.structs.replace(request, long_session=True, text=b"")
        return await self._send(
            Ask(
                text=encode(prepared(lasting, self.flow, self._signer)),
                destination=self.flow.destination,
                source=self.flow.source,
                reliable=self._way.reliable,
                timeout_s=self._way.timeout_s,
                sid=self.sid,
            )
        )


@asynccontextmanager
async def session(host: str, signer: Signer | None = None, way: Way = _WAY) -> AsyncIterator[Session]:
    """Keep a way to the nodes on the path to a host while the context lasts.

    Args:
        host: name or address.
        signer: of all its requests; None: public probes, of which nodes keep no session.
        way: how they travel: through the daemon of this machine where one runs, else from a node of one's own.

    Raises:
        UnreachableError: the name has no address, or there is no route.
    """
    flow = await flow_to(host)
    async with sessions(signer, way) as along:
        yield along(flow)


@asynccontextmanager
async def sessions(signer: Signer | None = None, way: Way = _WAY) -> AsyncIterator[Callable[[Flow], Session]]:
    """Keep ways along many flows, all from one node: gives a function that makes a session of a flow.

    Args:
        signer: see `session`.
        way: likewise.
    """
    if way.control is not None:
        daemon = ControlClient(way.control)
        try:
            await daemon.status()
        except NoDaemonError as error:
            log.info("%s; using a node of our own", error)
        else:
            yield lambda flow: Session(flow, signer, way, partial(_by_daemon, daemon, flow))
            return
    async with _lasting_node(way.profile) as node:
        yield lambda flow: Session(flow, signer, way, partial(_by_node, node, flow))


@asynccontextmanager
async def _lasting_node(profile: Profile) -> AsyncIterator[Driver]:
    """A node of one's own that lives until the context ends, cancelled or not: the last word may be a REMOVE."""

    async def run(task_status: trio.TaskStatus[Driver]) -> None:
        with scope:
            async with own_node(profile) as node:
                task_status.started(node)
                scope.shield = True
                await trio.sleep_forever()

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        try:
            yield await nursery.start(run)
        finally:
            scope.cancel()


async def _by_daemon(daemon: ControlClient, flow: Flow, ask: Ask) -> Reply:
    answer = await daemon.ask(ask)
    return Reply(flow=flow, response=responses.decode(answer.text), elapsed_s=answer.elapsed_s, by_daemon=True)


async def _by_node(node: Driver, flow: Flow, ask: Ask) -> Reply:
    begun = trio.current_time()
    response = await node.ask(
        ask.text,
        source=flow.source,
        destination=flow.destination,
        reliable=ask.reliable,
        timeout_s=ask.timeout_s,
        sid=ask.sid,
    )
    return Reply(flow=flow, response=response, elapsed_s=trio.current_time() - begun, by_daemon=False)
