"""Requests of this machine, for Python programs: made, signed, sent along a path, and answered.

reply = await probe("server.example.org", items=("status", "load"), signer=Signer("alice", load_key(path)))
for entry in reply.response.nearest_first():
print(entry.node_id, entry.code, dict(entry.lines))
"""

import logging
import math
import secrets
import time
from typing import Final, TypeVar

import msgspec
import trio
from trio import socket

from mdht.signing import SigningKey
from netserv.errors import LocalProtocolError, UnreachableError
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.control_client import ControlClient, NoDaemonError
from netserv.signaling.control_messages import Ask
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.nslp import responses
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger, encode
from netserv.signaling.nslp.responses import Response
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.values import NONCE_BYTES, Around, Flow, ModuleRef
from netserv.signaling.own_node import own_node
from netserv.signaling.profiles import Profile

EXPIRES_S: Final = 300.0
"That a request is valid: the clocks of machines differ by less, and a nonce is remembered for so long."

log = logging.getLogger(__name__)

ClaimingT = TypeVar("ClaimingT", bound=Setup | Remove | Probe)


class Signer(msgspec.Struct, frozen=True):
    """A publisher."""

    user: str
    key: SigningKey


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a request travels."""

    reliable: bool = True
    "By associations; else by datagrams, where it is short enough."
    timeout_s: float = 30.0
    profile: Profile = "netserv"
    "Timing of a node of one's own."
    control: str | None = DEFAULT_NAME
    "Socket of the daemon to go through; None: always by a node of one's own."


_WAY: Final = Way()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    flow: Flow
    "From this machine to the host."
    response: Response
    elapsed_s: float
    by_daemon: bool
    "Through the daemon of this machine."


async def flow_to(host: str) -> Flow:
    """The flow from this machine to a host; the kernel chooses the source address.

    Raises:
        UnreachableError: the name has no address, or there is no route.
    """
    try:
        found = await socket.getaddrinfo(host, GIST_PORT, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{host}: {getattr(error, 'strerror', None) or error}") from error
    reason = "no address"
    for family, _type, _proto, _name, address in found:
        if family not in {socket.AF_INET, socket.AF_INET6}:
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                await sock.connect(address)  # sends nothing
            except OSError as error:
                reason = error.strerror or str(error)
                continue
            own = sock.getsockname()[0]
        return Flow(packed(own.partition("%")[0]), packed(str(address[0]).partition("%")[0]))
    raise UnreachableError(f"{host}: {reason}; see: ip route get {host}")


def claimed(request: ClaimingT, flow: Flow, *, expires_s: float = EXPIRES_S) -> ClaimingT:
    """The request with what it lacks of nonce, expiry and flow, by which it is good once, now and here."""
    return msgspec.structs.replace(
        request,
        nonce=request.nonce or secrets.token_bytes(NONCE_BYTES),
        expires=request.expires or math.ceil(time.time() + expires_s),
        flow=request.flow or flow,
        text=b"",
    )


def prepared(request: Request, flow: Flow, signer: Signer | None, *, expires_s: float = EXPIRES_S) -> Request:
    """The request as it is to be sent: with claims, and signed if it has no signature yet and a signer is there.

    What is signed already is left as it is: every byte of it counts.

    Args:
        request: as its author wrote it.
        flow: along which it goes.
        signer: who signs; None: nobody.
        expires_s: how long it is valid.

    Raises:
        LocalProtocolError: it is in the name of another publisher than the signer.
    """
    if request.signature is not None:
        return request
    if signer is not None and request.user not in {None, signer.user}:
        raise LocalProtocolError(f"the request is of user {request.user}, and the key of {signer.user}")
    user = request.user if signer is None else signer.user
    if isinstance(request, Trigger):
        inner = prepared(request.inner, flow.swapped(), signer, expires_s=expires_s)
        whole: Request = msgspec.structs.replace(request, inner=inner, body_length=0, user=user, text=b"")
    else:
        whole = claimed(msgspec.structs.replace(request, user=user), flow, expires_s=expires_s)
    return whole if signer is None else signed(whole, signer.key)


async def send(text: bytes, flow: Flow, way: Way = _WAY) -> Reply:
    """Send the text of a request along the path of a flow, and wait for what the nodes on it say.

    Raises:
        NetservError: the text is no request, nobody is on the path, or no answer came in time.
    """
    begun = trio.current_time()
    if way.control is not None:
        ask = Ask(
            text=text,
            destination=flow.destination,
            source=flow.source,
            reliable=way.reliable,
            timeout_s=way.timeout_s,
        )
        try:
            answer = await ControlClient(way.control).ask(ask)
            response = responses.decode(answer.text)
            return Reply(flow=flow, response=response, elapsed_s=answer.elapsed_s, by_daemon=True)
        except NoDaemonError:
            log.info("no daemon at %s that may be used: a node of our own asks", way.control)
    async with own_node(way.profile) as node:
        begun = trio.current_time()
        response = await node.ask(
            text, source=flow.source, destination=flow.destination, reliable=way.reliable, timeout_s=way.timeout_s
        )
        return Reply(flow=flow, response=response, elapsed_s=trio.current_time() - begun, by_daemon=False)


async def probe(
    host: str,
    *,
    items: tuple[str, ...] = ("status",),
    target: ModuleRef | None = None,
    node_id: str | None = None,
    around: Around | None = None,
    signer: Signer | None = None,
    way: Way = _WAY,
) -> Reply:
    """Ask the nodes on the path to a host how they, or a module on them, stand.

    Args:
        host: name or address.
        items: what is asked for: `status`, `address`, `capabilities`, `policy`, `modules`, `blocks`, `load`.
        target: None: the nodes themselves.
        node_id: only this one is to answer in full.
        around: ask the nodes around a place of the flow instead of those on the path.
        signer: None: a public probe, which nodes may refuse.
        way: how it travels.

    Raises:
        NetservError: nobody is on the path, or no answer came in time.
    """
    flow = await flow_to(host)
    request = Probe(target=target, items=items, node_id=node_id, around=around)
    return await send(encode(prepared(request, flow, signer)), flow, way)
