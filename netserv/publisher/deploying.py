"""Deploys a bundle along a path: SETUP, then PROBEs until every node has said how it went, refreshes, REMOVE."""

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from netserv.errors import LocalProtocolError, NetservError
from netserv.modules.manifest import Manifest
from netserv.publisher.wishes import Wish, probe_of, reference, remove_of, setup_of
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.responses import StackEntry
from netserv.signaling.nslp.values import ModuleRef
from netserv.signaling.sessions import Session

log = logging.getLogger(__name__)

LOOK_S: Final = 0.05
"Before the first look how far nodes are: a warm container takes some 100 ms."
LOOK_MAX_S: Final = 1.0
REFRESHES: Final = 3
"Of each time to live that was granted: two may get lost."
PAUSE_MIN_S: Final = 0.5
"Between two refreshes, whatever a node has granted."
RETRY_S: Final = 5.0
"Before a refresh that nobody answered is sent again."
GOODBYE_S: Final = 10.0
"For the REMOVE at the end."
PASSWORD_BYTES: Final = 16
"128 bits, once."


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the module on one node."""

    node_id: str
    address: str
    hops: int
    code: int
    text: str
    ttl_s: int | None = None
    "Granted."

    @property
    def is_active(self) -> bool:
        """Whether the module runs there."""
        return self.code == Code.OK

    @property
    def is_under_way(self) -> bool:
        """Whether the node has not said yet how it went."""
        return self.code == Code.ACCEPTED


class Deployment:
    """A module on the nodes of a path; made for a session.

    Args:
        path: the way to the nodes.
        manifest: of the bundle.
        data: the bundle.
        url: where nodes find it.
        wish: how it is to be installed.
        prove: where a one-time password is put for nodes that want to see it, by the path under which they ask for it;
            None: they are to believe the prefixes that they know.
    """

    def __init__(
        self,
        path: Session,
        manifest: Manifest,
        data: bytes,
        *,
        url: str,
        wish: Wish,
        prove: Callable[[ModuleRef, str], None] | None = None,
    ) -> None:
        self._path, self._wish, self._prove = path, wish, prove
        self._setup = setup_of(manifest, data, url, wish)
        self.target = reference(manifest)
        self.results: tuple[NodeResult, ...] = ()
        "The nearest node first."

    async def install(self, timeout_s: float, told: Callable[[tuple[NodeResult, ...]], None]) -> None:
        """Ask all nodes to install it, and wait until each has said how it went.

        Args:
            timeout_s: the longest wait; nodes that are still at it then are left as they are.
            told: is told what is known so far, whenever that changes.

        Raises:
            NetservError: nobody is on the path, or no answer came.
        """
        granted = await self._ask_setup()
        self.results = granted
        told(self.results)
        pause_s = LOOK_S
        with trio.move_on_after(timeout_s):
            while any(one.is_under_way for one in self.results):
                await trio.sleep(pause_s)
                pause_s = min(2.0 * pause_s, LOOK_MAX_S)
                try:
                    reply = await self._path.ask(probe_of(self.target, self._wish))
                except NetservError as error:
                    log.warning("nodes do not say how far they are: %s; asking again", error)
                    continue
                newer = self._merged(reply.response.nearest_first(), granted)
                if newer != self.results:
                    self.results = newer
                    told(newer)

    async def keep(self, told: Callable[[tuple[NodeResult, ...]], None]) -> None:
        """Refresh it until cancelled."""
        while True:
            await trio.sleep(self._pause_s())
            try:
                newer = await self._ask_setup()
            except NetservError as error:
                log.warning("not refreshed: %s; trying again", error)
                await trio.sleep(RETRY_S)
                continue
            if [(one.node_id, one.code) for one in newer] != [(one.node_id, one.code) for one in self.results]:
                told(newer)
            self.results = newer

    async def remove(self) -> None:
        """Take it away from all nodes.

        Raises:
            NetservError: nobody is on the path, or no answer came.
        """
        reply = await self._path.ask(remove_of(self.target, self._wish))
        self.results = tuple(map(result_of, reply.response.nearest_first()))

    def _pause_s(self) -> float:
        granted = [one.ttl_s for one in self.results if one.ttl_s is not None]
        return max(PAUSE_MIN_S, min([self._wish.ttl_s, *granted]) / REFRESHES)

    async def _ask_setup(self) -> tuple[NodeResult, ...]:
        setup = self._setup
        if self._prove is not None:
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            self._prove(self.target, password)
            setup = msgspec.structs.replace(setup, password=password)
        reply = await self._path.ask(setup)
        return tuple(map(result_of, reply.response.nearest_first()))

    def _merged(self, entries: tuple[StackEntry, ...], granted: tuple[NodeResult, ...]) -> tuple[NodeResult, ...]:
        """What a look says; a node that had refused the request has nothing newer to say of it."""
        said = {one.node_id: one for one in granted}
        found = []
        for entry in entries:
            result = result_of(entry)
            first = said.get(result.node_id)
            if first is not None and not (first.is_active or first.is_under_way):
                found.append(first)
                continue
            found.append(msgspec.structs.replace(result, ttl_s=None if first is None else first.ttl_s))
        return tuple(found)


@asynccontextmanager
async def removed_at_the_end(deployment: Deployment) -> AsyncIterator[None]:
    """Remove a deployment when the context ends, also by Ctrl-C; if that fails its time to live ends it."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(GOODBYE_S) as patience:
            try:
                await deployment.remove()
            except NetservError as error:
                log.warning("not removed: %s; it ends with its time to live", error)
        if patience.cancelled_caught:
            log.warning("not removed within %g s; it ends with its time to live", GOODBYE_S)


def result_of(entry: StackEntry) -> NodeResult:
    """What a node has said."""
    ttl = dict(entry.lines).get("ttl", "")
    return NodeResult(
        node_id=entry.node_id,
        address=address_text(entry.address),
        hops=entry.hops,
        code=entry.code,
        text=entry.text,
        ttl_s=int(ttl) if ttl.isascii() and ttl.isdigit() and len(ttl) <= 9 else None,
    )


def check_signer(signer: bytes | None, key: bytes) -> None:
    """See that who signs the request has signed the bundle, too.

    Raises:
        LocalProtocolError: he has not: no node would take it.
    """
    if signer is None:
        raise LocalProtocolError("the bundle is not signed: netserv module sign FILE --key KEY")
    if signer != key:
        raise LocalProtocolError("the bundle is signed with another key: sign it with the one that signs the request")
