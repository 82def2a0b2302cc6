"""`netserv probe` and `netserv send`: a request along a path, and what the nodes on it say."""

import argparse
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import trio

from mdht.journal import printable
from netserv.errors import LocalProtocolError
from netserv.signaling.asking import Reply, Signer, Way, flow_to, prepared, send
from netserv.signaling.gist.addresses import address_text
from netserv.signaling.key_files import load_key
from netserv.signaling.nslp.requests import Probe, Request, encode
from netserv.signaling.nslp.responses import StackEntry
from netserv.signaling.nslp.text import REQUEST_BYTES_MAX
from netserv.signaling.nslp.values import ModuleRef
from netserv.signaling.request_files import read_request

PATIENCE_S: Final = 2.0
"Of a person without a word; then a line says what is waited for."
TICK_S: Final = 1.0
"Between two such lines on a terminal, one over the other."
LOG_S: Final = 5.0
"The same where they stay."

T = TypeVar("T")


async def run(options: argparse.Namespace) -> int:
    """Send the request and print the answer.

    Raises:
        NetservError: nobody answered, or the request is none.
    """
    signer = signer_of(options)
    text = await trio.to_thread.run_sync(_text, options.file) if options.command == "send" else b""
    flow = await flow_to(options.toward)
    around = getattr(options, "around", None)
    if options.command == "probe" or not options.as_is:
        request = _probe(options) if options.command == "probe" else read_request(text, options.user)
        whole = prepared(request, flow, signer, expires_s=options.expires)
        if whole.user is not None and whole.signature is None:
            raise LocalProtocolError(f"the request is of user {whole.user} and has no signature: give --key and --user")
        text = encode(whole)
    reply = await waited_for(f"the nodes toward {options.toward}", send(text, flow, way_of(options)))
    if options.json:
        print(msgspec.json.encode(reply_fields(options.toward, reply)).decode())
    else:
        where = f"on the path to {options.toward}" if around is None else f"around: {around}"
        print("\n".join(reply_lines(where, reply)))
    return 0


def _probe(options: argparse.Namespace) -> Request:
    target = None if options.target in {None, "*"} else ModuleRef.read(options.target)
    return Probe(target=target, items=options.what, node_id=options.node_id, around=options.around)


def way_of(options: argparse.Namespace) -> Way:
    """How the command line wants requests to travel."""
    return Way(
        reliable=not options.datagrams,
        timeout_s=options.timeout,
        profile=options.profile,
        control=None if options.own_node else options.control,
    )


def signer_of(options: argparse.Namespace) -> Signer | None:
    """Who signs; None: nobody.

    Raises:
        LocalProtocolError: the key cannot be read, or it is not said whose it is.
    """
    if (options.key is None) != (options.user is None):
        raise LocalProtocolError("--key and --user go together: the key, and whose it is")
    return None if options.key is None else Signer(options.user, load_key(options.key))


def _text(file: str) -> bytes:
    """What is to be sent.

    Raises:
        LocalProtocolError: it cannot be read, or is too long.
    """
    try:
        if file == "-":
            text = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as source:
                text = source.read(REQUEST_BYTES_MAX + 1)
    except OSError as error:
        raise LocalProtocolError(f"{file}: {error.strerror or error}") from error
    if len(text) > REQUEST_BYTES_MAX:
        raise LocalProtocolError(f"{file}: a request has {REQUEST_BYTES_MAX} bytes at most")
    return text


async def waited_for(what: str, work: Awaitable[T]) -> T:
    """Do it, and say on a terminal that it is being waited for if that takes long."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say, what)
        result = await work
        nursery.cancel_scope.cancel()
    return result


async def _say(what: str) -> None:
    terminal = sys.stderr.isatty()
    begun = trio.current_time()
    await trio.sleep(PATIENCE_S)
    try:
        while True:
            line = f"netserv: waiting for {what}, {trio.current_time() - begun:.0f} s"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
            await trio.sleep(TICK_S if terminal else LOG_S)
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def reply_fields(toward: str, reply: Reply) -> dict[str, Any]:
    """A reply for scripts; the nearest node first."""
    return {
        "toward": toward,
        "source": address_text(reply.flow.source),
        "destination": address_text(reply.flow.destination),
        "elapsed_s": round(reply.elapsed_s, 6),
        "by_daemon": reply.by_daemon,
        "code": reply.response.code,
        "truncated": reply.response.truncated,
        "nodes": [_entry_fields(entry) for entry in reply.response.nearest_first()],
    }


def _entry_fields(entry: StackEntry) -> dict[str, Any]:
    return {
        "node_id": entry.node_id,
        "address": address_text(entry.address),
        "hops": entry.hops,
        "code": entry.code,
        "text": entry.text,
        "last_by": None if entry.last_by is None else entry.last_by.value,
        "lines": dict(entry.lines),
    }


def reply_lines(where: str, reply: Reply) -> Iterator[str]:
    """A reply for people; the nearest node on top.

    Args:
        where: the nodes are.
        reply: their answer.
    """
    stack = reply.response.nearest_first()
    nodes = _counted(len(stack) + reply.response.truncated, "node")
    yield f"{nodes} {where}, answered in {reply.elapsed_s * 1000:.1f} ms"
    if reply.response.truncated:
        yield f"the nearest {reply.response.truncated} of them found no room in the answer"
    width = max((len(entry.node_id) for entry in stack), default=0)
    for number, entry in enumerate(stack, reply.response.truncated + 1):
        last = "" if entry.last_by is None else f"  last node, by {entry.last_by.value}"
        where = f"{entry.node_id:<{width}}  {address_text(entry.address)}  {_counted(entry.hops, 'hop')}"
        yield f"{number:>3}  {where}  {entry.code} {printable(entry.text)}{last}".rstrip()
        for name, value in entry.lines:
            yield f"     {name}: {printable(value)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
