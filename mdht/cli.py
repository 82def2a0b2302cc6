"""The command `mdht`: a node of the record store, and what people do with it from a terminal."""

import argparse
import base64
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from dhtboot import cli_completion
from mdht import cli_experiment, cli_isolation, cli_members
from mdht.api import Mdht
from mdht.chunks import LARGE_VALUE_MAX
from mdht.cli_lines import Lines, OverlayLines, headline, port_text
from mdht.cli_running import FAILED, run_command
from mdht.config import MdhtConfig
from mdht.control import ControlClient, Records, control_path, serve_control
from mdht.errors import LocalProtocolError, MdhtError, UnreachableError
from mdht.journal import printable
from mdht.link_running import RunningHost
from mdht.metrics_http import MetricsServer
from mdht.node import open_mdht
from mdht.options import config_of, parse_arguments, whole_parser
from mdht.prometheus import exposition
from mdht.results import Change, Found, Receipt, Status
from mdht.service_manager import of_this_process
from mdht.signing import SigningKey
from mdht.state import default_state_dir
from mdht.subnet.effects import Event, LinkModeChanged, MemberChanged, Merged, Settled

log = logging.getLogger(__name__)

JOIN_S: Final = 4.0
"""Seconds in which a node that lives for one command looks for others; peers on the link answer within one, and behind
a router it knows within three that it is a client."""
GLANCE_S: Final = 0.05
"Between looks at a node that is about to join."
OVERLAY_LOOK_S: Final = 0.2
"Between two looks at how it stands with the overlay, for `run -v`."

_SIGNS: Final = {"added": "+", "updated": "~", "removed": "-"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 failed or nothing found, 130 stopped by Ctrl-C; wrong usage exits with 2.
    """
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    if options.command == "completion":
        return cli_completion.run(options, whole_parser())
    if options.command == "isolation":
        return cli_isolation.run(options)
    if options.command == "experiment":
        return cli_experiment.run(options)
    if options.command != "members":  # which only listens, and keeps nothing
        options.state_dir = options.state_dir or default_state_dir(os.environ, options.network)
    return run_command(
        "mdht",
        partial(_command, options),
        verbose=options.verbose,
        expected=(MdhtError,),
        lasts=options.command in ("run", "listen") or (options.command == "members" and cli_members.lasts(options)),
    )


async def _command(options: argparse.Namespace) -> int:
    if options.command == "members":
        return await cli_members.run(options)
    control = control_path(options.state_dir, os.environ)
    match options.command:
        case "run":
            return await _run(options, control)
        case "status":
            return await _status(options, control)
        case "put":
            value = _value(options.value)
            async with _open_records(options, control) as records:
                return await _report(options, records, await _put(options, records, value), "stored")
        case "remove":
            async with _open_records(options, control) as records:
                return await _report(options, records, await records.remove(options.key, options.name), "removed")
        case "get":
            async with _open_records(options, control) as records:
                return _show_found(options, await records.get(options.key, fresh=options.fresh))
        case "listen":
            async with _open_records(options, control) as records:
                return await _listen(options, records)
        case _:
            async with _open_records(options, control) as records:
                print(_json(await records.explain(options.key), indent=0 if options.json else 2))
                return 0


async def _run(options: argparse.Namespace, control: Path) -> int:
    """Be a host of the subnet until cancelled."""
    writer = SigningKey.load_or_create(options.state_dir / "identity.pem")
    lines: dict[RunningHost, Lines] = {}
    early: list[tuple[RunningHost, Event]] = []

    def on_event(host: RunningHost, event: Event) -> None:
        if not lines:
            early.append((host, event))  # the first line says who this host is
        elif options.json or options.verbose or not isinstance(event, MemberChanged):
            _tell(lines[host], host, event)

    config = config_of(options, lasting=True)
    async with open_mdht(config, writer, on_event=on_event) as node, trio.open_nursery() as nursery:
        await nursery.start(serve_control, node, control)
        if options.metrics:
            server = MetricsServer(lambda: exposition(node.status()), "mdht")
            log.info("metrics at %s", await nursery.start(server.serve, options.metrics))
        for host in node.hosts:
            link = "+".join(host.interfaces) if len(node.hosts) > 1 else ""
            lines[host] = Lines(options.network, as_json=options.json, link=link)
            lines[host].joins(host, options.state_dir)
        for host, event in early:
            on_event(host, event)
        nursery.start_soon(of_this_process().report, lambda: headline(node.status()))
        overlays = [OverlayLines(lines[host], host) for host in node.hosts]
        try:
            while True:
                for overlay in overlays if options.json or options.verbose else ():
                    overlay.look()
                await trio.sleep(OVERLAY_LOOK_S)
        finally:
            for host in node.hosts if options.json or options.verbose else ():
                lines[host].ended(host.totals())


def _tell(lines: Lines, host: RunningHost, event: Event) -> None:
    match event:
        case Settled(subnet=subnet):
            lines.settled(subnet, host.policy, adopted=host.policy_adopted)
        case LinkModeChanged():
            lines.link_mode(event)
        case Merged(gone=gone, into=into):
            lines.merged(gone, into)
        case MemberChanged(hid=hid):
            member = host.core.membership.view.get(hid)
            if member is None:
                lines.gone_over(hid)
            else:
                lines.members([member], trio.current_time())


async def _put(options: argparse.Namespace, records: Records, value: bytes) -> Receipt:
    if isinstance(records, Mdht):
        # Wait for every node that will hold it: this one is about to leave.
        copies = MdhtConfig().keeping.replicas
        return await records.put(options.key, value, ttl_s=options.ttl, name=options.name, acks=copies)
    return await records.put(options.key, value, ttl_s=options.ttl, name=options.name)


async def _status(options: argparse.Namespace, control: Path) -> int:
    client = ControlClient(control)
    if not await client.answers():
        raise UnreachableError(f"no mdht runs with the state in {options.state_dir}; start one: mdht run")
    status = await client.status()
    if options.prometheus:
        print(exposition(status), end="")
    else:
        texts = [_status_text(each) for each in (status, *status.others)]
        print(_json(status) if options.json else "\n\n".join(texts))
    return 0


@asynccontextmanager
async def _open_records(options: argparse.Namespace, control: Path) -> AsyncIterator[Records]:
    """Use the running node of the state directory, else one of our own that joins for this command."""
    client = ControlClient(control)
    if await client.answers():
        log.info("using the running node at %s", control)
        yield client
        return
    writer = SigningKey.load_or_create(options.state_dir / "identity.pem")
    async with open_mdht(config_of(options, lasting=False), writer) as node:
        with trio.move_on_after(JOIN_S):
            await _joined(node)
        if not (node.status().contacts or node.status().members):
            log.warning("no other node found; start one with `mdht run`, or name one with --bootstrap")
        yield node


async def _joined(node: Mdht) -> None:
    while True:
        status = node.status()
        if status.phase == "joined" and (status.contacts or status.members):
            return
        await trio.sleep(GLANCE_S)


async def _report(options: argparse.Namespace, records: Records, receipt: Receipt, done: str) -> int:
    """Print how a put or remove went; a record that only a node about to leave holds has not been stored."""
    others = receipt.stored
    if isinstance(records, Mdht) and receipt.stored and not records.status().members:
        others -= "here" in (await records.explain(options.key)).holders
    refusals = ", ".join(f"{refusal.node} {refusal.code.name}" for refusal in receipt.refused)
    if not others:
        reason = f"refused by {refusals}" if refusals else "no other node was reached, so it would vanish with this one"
        raise UnreachableError(f"not {done}: {reason}; start a node with `mdht run`, or name one with --bootstrap")
    text = f"{done} at {others} node{'s' if others > 1 else ''}"
    if done == "stored":
        text += f", for {receipt.expires_in_s:g} s unless put again"
    if refusals:
        text += f"; refused by {refusals}"
    _line(options, text, {**msgspec.to_builtins(receipt), "stored": others})
    return 0


def _show_found(options: argparse.Namespace, found: list[Found]) -> int:
    for each in found:
        _line(options, _found_text(options, each), _found_fields(each))
    if not found:
        print("mdht: nothing found under this key", file=sys.stderr)
        return FAILED
    return 0


async def _listen(options: argparse.Namespace, records: Records) -> int:
    async with records.watch(options.key) as changes:
        async for change in changes:
            _line(options, _change_text(options, change), {"change": change.kind, **_found_fields(change.found)})
    raise UnreachableError("the node that was listened to has stopped")


def _value(argument: str) -> bytes:
    """Return the value to put, from the argument or from standard input."""
    if argument != "-":
        return argument.encode(errors="surrogateescape")
    value = sys.stdin.buffer.read(LARGE_VALUE_MAX + 1)
    if len(value) > LARGE_VALUE_MAX:
        raise LocalProtocolError(f"standard input has more than {LARGE_VALUE_MAX} bytes, the most that one value holds")
    return value


def _line(options: argparse.Namespace, text: str, fields: dict[str, Any]) -> None:
    # Flushed, as readers in a pipeline wait for changes.
    print(_json(fields) if options.json else text, flush=True)


def _json(value: object, indent: int = 0) -> str:
    data = msgspec.json.encode(value)
    return (msgspec.json.format(data, indent=indent) if indent else data).decode()


def _shown(data: bytes) -> str:
    """Return bytes for a terminal: on one line, without the control characters of strangers."""
    return printable(data.decode(errors="backslashreplace"))


def _found_text(options: argparse.Namespace, found: Found) -> str:
    text = _shown(found.value)
    if options.verbose:
        name = f" as {_shown(found.name)}" if found.name else ""
        text += f"  (by {found.writer.hex()[:16]}{name}, {found.remaining_s:.0f} s left)"
    return text


def _change_text(options: argparse.Namespace, change: Change) -> str:
    return f"{_SIGNS[change.kind]} {_found_text(options, change.found)}"


def _found_fields(found: Found) -> dict[str, Any]:
    try:
        text = found.value.decode()
    except UnicodeDecodeError:
        text = None
    return {
        "value": text,
        "value_base64": base64.b64encode(found.value).decode(),
        "writer": found.writer.hex(),
        "name": found.name.decode(errors="backslashreplace"),
        "seq": found.seq,
        "lease_s": found.lease_s,
        "remaining_s": round(found.remaining_s, 3),
    }


def _hits(counters: dict[str, int]) -> str:
    own, siblings, misses = (counters.get(f"cache_{name}", 0) for name in ("own_hits", "sibling_hits", "misses"))
    return f"{own} gets answered here, {siblings} by siblings, {misses} by other nodes"


def _link_mode_text(status: Status) -> str:
    text = status.link_mode
    if status.emulated:
        text += f", by unicast copies with {status.emulated} of {len(status.members)} members"
    if status.without_copies:
        text += f"; {status.without_copies} of them get none, as there are too many"
    if status.link_mode == "multicast" and not status.members:
        text += ", nobody is heard; where it may be filtered, name a host with --peer"
    return text


def _status_text(status: Status) -> str:
    lines = (
        ("node", status.node or "none yet" if status.role == "node" else "client"),
        *([("because", status.why)] if status.why else []),
        *([("port", port_text(status.mapped_port))] if status.mapped_port is not None else []),
        ("subnet", status.subnet or "none yet"),
        ("host", status.host),
        ("writer", status.writer),
        ("network", f"{status.network} ({status.phase})"),
        ("link", ", ".join(status.interfaces) or "none"),
        ("addresses", ", ".join(status.addresses)),
        ("up for", f"{status.uptime_s:.0f} s"),
        ("members", ", ".join(status.members) or "none beside this host"),
        ("link mode", _link_mode_text(status)),
        ("merges", f"{status.merges} with other subnets of the link"),
        ("contacts", f"{status.contacts} other nodes"),
        ("neighbours", ", ".join(status.neighbours) or "none"),
        ("policy", f"{status.policy or 'none yet'}{' (adopted with the subnet)' if status.policy_adopted else ''}"),
        ("records", f"{status.records}, {status.record_bytes} bytes"),
        ("cached", f"{status.cached} keys of other nodes, {status.cached_bytes} bytes; {_hits(status.counters)}"),
    )
    return "\n".join(f"{name + ':':<12}{value}" for name, value in lines)
