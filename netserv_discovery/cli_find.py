"""`netserv-discovery find`: who offers what, nearest first, and why in this order."""

import argparse
import logging
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import trio

from mdht.journal import printable
from mdht.signing import SigningKey
from netserv_discovery.cli_output import dht_settings, tell
from netserv_discovery.counters import counted
from netserv_discovery.covers import read_covers
from netserv_discovery.dht_io import open_dht
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.find import Change, open_finder
from netserv_discovery.finder import Done
from netserv_discovery.items_find import ItemsWanted
from netserv_discovery.link_find import LinkFinder, open_link_finder
from netserv_discovery.path_find import OnPath, find_on_path, fitting
from netserv_discovery.path_io import path_prober
from netserv_discovery.ranking import Found
from netserv_discovery.site_find import SiteFinder
from netserv_discovery.versions import Offer
from netserv_discovery.want import Wanted

log = logging.getLogger(__name__)

FAILED: Final = 1
_SIGNS: Final = {"found": "+", "changed": "~", "lost": "-"}


async def run(options: argparse.Namespace) -> int:
    """Find, print, and go on to print changes if that is wanted.

    Raises:
        DiscoveryError: what is asked for cannot be, or nobody answers.
    """
    wanted = wanted_of(options)
    if options.toward is not None:
        return await _toward(options, wanted)
    if not options.sites and (options.secret or options.secret_file):
        raise LocalProtocolError("--secret and --secret-file hide what is shown to sites: say --sites KEY")
    if options.link:
        async with open_link_finder(options.interface) as on_link:
            return await _among_items(options, on_link, wanted)
    if options.sites:
        covers = await trio.to_thread.run_sync(read_covers, options.secret, options.secret_file)
        async with open_dht(dht_settings(options), SigningKey.generate(), wait=True) as dht:
            return await _among_items(options, SiteFinder(dht, options.sites, covers), wanted)
    if wanted is None:
        raise LocalProtocolError(
            "say what to look for: --block, --module, --node-id or --near; or --link, --sites KEY, --toward HOST"
        )
    async with open_finder(dht_settings(options)) as finder:
        if not options.watch:
            return _tell_done(options, await finder.find(wanted))
        async with finder.watch(wanted) as changes:
            return await _follow(options, changes)


def wanted_of(options: argparse.Namespace) -> Wanted | None:
    """What the options say; None: anything.

    Raises:
        LocalProtocolError: they do not fit together.
    """
    if not (options.block or options.module or options.node_id or options.near):
        if options.radius is not None:
            raise LocalProtocolError("--radius is around a place: say --near LAT,LON too")
        return None
    return Wanted(
        blocks=tuple(options.block),
        modules=tuple(options.module),
        node_id=options.node_id,
        near=options.near,
        radius_km=options.radius,
        here=options.here,
        limit=options.limit,
        ping=not options.no_ping,
    )


async def _among_items(options: argparse.Namespace, finder: LinkFinder | SiteFinder, wanted: Wanted | None) -> int:
    items = ItemsWanted(wanted=wanted, here=options.here, limit=options.limit, ping=not options.no_ping)
    if not options.watch:
        return _tell_done(options, await finder.find(items))
    async with finder.watch(items) as changes:
        return await _follow(options, changes)


async def _follow(options: argparse.Namespace, changes: trio.MemoryReceiveChannel[Change]) -> int:
    async for change in changes:
        _tell_change(options, change)
    return FAILED  # only cancelling ends it


def _tell_done(options: argparse.Namespace, done: Done) -> int:
    for number, found in enumerate(done.found, 1):
        tell(options, "\n".join(found_lines(number, found)), {"number": number} | found_fields(found))
    refused = counted(done.counters)
    if not done.certain:
        log.warning("nearer ones may be missing: not all of the DHT has answered")
    log.info("%d keys in %d rounds, %d pings%s", done.gets, done.rounds, done.pings, f"; {refused}" if refused else "")
    if not done.found:
        print(f"netserv-discovery: no such node was found{f' ({refused})' if refused else ''}", file=sys.stderr)
        return FAILED
    return 0


def _tell_change(options: argparse.Namespace, change: Change) -> None:
    first, *rest = found_lines(_SIGNS[change.kind], change.node)
    lines = [first] if change.kind == "lost" else [first, *rest]
    tell(options, "\n".join(lines), {"change": change.kind} | found_fields(change.node))


async def _toward(options: argparse.Namespace, wanted: Wanted | None) -> int:
    if (options.user is None) != (options.key is None):
        raise LocalProtocolError("--user and --key go together: a publisher, and his key")
    if options.watch:
        raise LocalProtocolError("--watch follows the link or the DHT; a path is asked anew each time")
    prober = path_prober()
    async with AsyncExitStack() as stack:
        finder = None
        if not options.no_dht:
            finder = await stack.enter_async_context(open_finder(dht_settings(options)))
        nodes = await find_on_path(
            prober,
            options.toward,
            finder=finder,
            timeout_s=options.timeout,
            user=options.user,
            key=options.key,
        )
    chosen = fitting(nodes, wanted)[: options.limit]
    for each in chosen:
        tell(options, "\n".join(path_lines(each)), path_fields(each))
    if not chosen:
        print(f"netserv-discovery: none of the {len(nodes)} nodes on the path has it", file=sys.stderr)
        return FAILED
    return 0


def found_lines(head: object, found: Found) -> list[str]:
    """A node for people.

    Args:
        head: what stands before it, as its number.
        found: the node.
    """
    record = found.record
    where = " ".join(map(str, record.ip_addresses)) or "no address"
    offers = _offers_text((*record.blocks, *record.modules))
    operator = f"  of {printable(record.operator)}" if record.operator else ""
    return [f"{head:>2}  {record.node_id}  {where}  {offers}{operator}", f"    {'; '.join(found.reasons)}"]


def found_fields(found: Found) -> dict[str, Any]:
    """A node for scripts."""
    record = found.record
    return {
        "node_id": record.node_id,
        "public_key": record.public_key.hex(),
        "addresses": [str(each) for each in record.ip_addresses],
        "gist_port": record.gist_port,
        "ping_port": record.ping_port,
        "blocks": _offers_fields(record.blocks),
        "modules": _offers_fields(record.modules),
        "limits": msgspec.structs.asdict(record.limits),
        "load": found.load,
        "location": None if record.location is None else [record.location.latitude, record.location.longitude],
        "operator": record.operator,
        "expires": record.expires,
        "distance_km": None if found.distance_km is None else round(found.distance_km, 1),
        "rtt_ms": None if found.rtt_s is None else round(found.rtt_s * 1000.0, 3),
        "trust": found.trust.name.lower(),
        "crowded": found.crowded,
        "reasons": found.reasons,
    }


def path_lines(each: OnPath) -> list[str]:
    """A node on the path for people."""
    node, offers = each.node, _offers_text((*each.blocks, *each.modules))
    hops = f"{node.hops} hop{'' if node.hops == 1 else 's'}"
    lines = [
        f"{each.number:>2}  {node.node_id}  {node.address}  {offers}",
        f"    {hops} from the one before; {_code(node.code)}",
    ]
    if each.found is not None:
        lines[1] += f"; {'; '.join(each.found.reasons)}"
    return lines


def path_fields(each: OnPath) -> dict[str, Any]:
    """A node on the path for scripts."""
    node = each.node
    return {
        "number": each.number,
        "node_id": node.node_id,
        "address": node.address,
        "hops": node.hops,
        "code": node.code,
        "blocks": _offers_fields(each.blocks),
        "modules": _offers_fields(each.modules),
        "lines": node.lines,
        "record": None if each.found is None else found_fields(each.found),
    }


def _code(code: int) -> str:
    return "answers" if code == 200 else f"answers {code}, so it tells little of itself"


def _offers_text(offers: Iterable[Offer]) -> str:
    return ", ".join(map(str, offers)) or "offers nothing"


def _offers_fields(offers: Iterable[Offer]) -> list[dict[str, str]]:
    return [{"name": each.name, "version": each.version} for each in offers]
